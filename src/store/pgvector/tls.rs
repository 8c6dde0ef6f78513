//! TLS to PostgreSQL, by the `sslmode` of its address.
//!
//! The modes mean what they mean to libpq: `require` encrypts and asks for no proof of who answers
//! unless an authority to trust is named; `verify-full` asks for it. What libpq has in its address
//! and the driver does not understand is taken out here.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};

/// What an address asks for.
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
}

/// `trusting` is the configuration that checks who answers; `has_authority` says that the operator
/// named whom to trust.
pub(super) fn address(url: &str, trusting: ClientConfig, has_authority: bool) -> Result<Address> {
    let (url, verify) = plain(url);
    let parsed = url.parse::<Config>();
    // What the driver says of it may quote parts of the address, and so of the password.
    let mut config = parsed.map_err(|_error| {
        Error::settings(
            "the address of PostgreSQL cannot be read; it goes \
             postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and in the password every character \
             but letters and digits is written as %XX",
        )
    })?;
    let is_unix = |host: &Host| matches!(host, Host::Unix(_));
    if config.get_hosts().iter().all(is_unix) && config.get_hostaddrs().is_empty() {
        config.ssl_mode(SslMode::Disable);
    }
    let tls = if verify || has_authority {
        trusting
    } else {
        unproven(trusting.crypto_provider())?
    };
    Ok(Address {
        config,
        tls: MakeRustlsConnect::new(tls),
    })
}

/// The address without what only libpq reads, and whether it asks for proof.
fn plain(url: &str) -> (String, bool) {
    let Some((before, query)) = url.split_once('?') else {
        return (url.to_owned(), false);
    };
    let mut verify = false;
    let mut kept = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", "verify-ca" | "verify-full")) => {
                verify = true;
                kept.push("sslmode=require");
            }
            Some(("sslmode", "allow")) => kept.push("sslmode=prefer"),
            Some((
                "sslrootcert" | "sslcert" | "sslkey" | "sslcrl" | "gssencmode" | "pgbouncer"
                | "schema",
                _,
            )) => {}
            _ => kept.push(pair),
        }
    }
    let query = kept.join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    (format!("{before}{mark}{query}"), verify)
}

fn unproven(provider: &Arc<CryptoProvider>) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::settings("set up TLS").with_source(error))?;
    let verifier = Arc::new(Unproven(Arc::clone(provider)));
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Takes whoever answers, as libpq does with `sslmode=require`: it keeps listeners out, and nobody
/// who stands in between.
#[derive(Debug)]
struct Unproven(Arc<CryptoProvider>);

impl ServerCertVerifier for Unproven {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_read_is_not_quoted() {
        for url in [
            "postgresql://u:p@h/d?secret=1",
            "postgresql://u:a@h:secret/d",
            "host=h secret=x",
        ] {
            let trusting = crate::net::client_tls(None).unwrap();
            let Err(error) = address(url, trusting, false) else {
                panic!("{url} can be read")
            };
            assert!(!error.chain().contains("secret"), "{url}");
        }
    }

    #[test]
    fn what_only_libpq_reads_is_taken_out() {
        let check = |url: &str, expected: &str, verify: bool| {
            assert_eq!(plain(url), (expected.to_owned(), verify), "{url}");
        };
        check("postgresql://h/d", "postgresql://h/d", false);
        check(
            "postgresql://h/d?sslmode=verify-full&sslrootcert=/x",
            "postgresql://h/d?sslmode=require",
            true,
        );
        check(
            "postgresql://h/d?sslrootcert=system",
            "postgresql://h/d",
            false,
        );
        check(
            "postgresql://h/d?application_name=a&sslmode=require",
            "postgresql://h/d?application_name=a&sslmode=require",
            false,
        );
    }
}
