//! TLS by rustls: the listener's certificate, re-read when its files change, and the trust that a
//! client towards an upstream uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, Result};

/// A listener's certificate and key.
///
/// Connections that are open keep what they began with; a broken new file leaves the old
/// certificate in force, and the caller says so.
pub struct ServerTls {
    cert: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
    read_at: Mutex<Stamp>,
}

/// What tells one version of the two files from another.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl ServerTls {
    pub fn load(cert: &Path, key: &Path) -> Result<Self> {
        let stamp = stamp(cert, key);
        let config = server_config(cert, key)?;
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::from_pointee(config),
            read_at: Mutex::new(stamp),
        })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again if they changed since they were last looked at. `true` when a new
    /// certificate is in force. A version that cannot be used is reported once, not every time.
    pub fn reload_if_changed(&self) -> Result<bool> {
        let now = stamp(&self.cert, &self.key);
        {
            let mut read_at = self.read_at.lock();
            if *read_at == now {
                return Ok(false);
            }
            *read_at = now;
        }
        self.current
            .store(Arc::new(server_config(&self.cert, &self.key)?));
        Ok(true)
    }
}

fn stamp(cert: &Path, key: &Path) -> Stamp {
    // `metadata` follows links: a mounted secret is swapped by moving one.
    [cert, key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn server_config(cert: &Path, key: &Path) -> Result<ServerConfig> {
    let chain = read_certificates(cert)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        Error::settings(format!("read the private key {}", key.display())).with_source(error)
    })?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, secret)
        })
        .map_err(|error| {
            Error::settings(format!("use the certificate {}", cert.display())).with_source(error)
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What a client trusts: the authority in `ca` and nothing else, or the system's own.
pub fn client_tls(ca: Option<&Path>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in read_certificates(path)? {
                roots.add(certificate).map_err(|error| {
                    Error::settings(format!("trust the certificate in {}", path.display()))
                        .with_source(error)
                })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::settings("set up TLS").with_source(error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let trouble = || Error::settings(format!("read the certificate {}", path.display()));
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| trouble().with_source(error))?;
    if found.is_empty() {
        return Err(trouble().with_source("there is no certificate in the file"));
    }
    Ok(found)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
