//! The stores and the cache, made from `Settings`: which kind, behind which guard, and what each is
//! told.

use std::sync::Arc;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use parking_lot::Mutex;

use super::QDRANT_BODY_LIMIT;
use crate::cache::{CacheSettings, CollectionPolicy, Company, Policy, RedisSettings};
use crate::config::{self, Settings};
use crate::error::{Error, Result};
use crate::metrics::{Gauge, Metrics};
use crate::mode::Stores;
use crate::model::{Role, StoreKind};
use crate::net::{self, Upstream, UpstreamSettings};
use crate::store::{
    BreakerSettings, Embedded, Guarded, Pgvector, PgvectorSettings, Qdrant, QdrantSettings, Rest,
    Store,
};
use crate::task::{Group, Stop};

/// What the stores are made from.
pub(super) struct Making<'s> {
    pub(super) settings: &'s Settings,
    pub(super) metrics: &'s Metrics,
    pub(super) tasks: &'s Group,
    pub(super) stop: &'s Stop,
    /// To be closed when the process ends.
    pub(super) embedded: Mutex<Vec<(Role, Arc<Embedded>)>>,
    /// To be started before the first call.
    pub(super) pgvector: Mutex<Vec<(Role, Arc<Pgvector>)>>,
}

impl Making<'_> {
    pub(super) fn both(&self) -> Result<Stores> {
        let secondary = self.settings.secondary.as_ref();
        Ok(Stores {
            primary: self.store(&self.settings.primary, Role::Primary)?,
            secondary: secondary
                .map(|of| self.store(of, Role::Secondary))
                .transpose()?,
        })
    }

    fn store(&self, of: &config::Store, role: Role) -> Result<Arc<dyn Store>> {
        let handles = self.metrics.store(role);
        let version = || self.settings.qdrant_version.clone();
        let inner: Arc<dyn Store> = match of.kind {
            StoreKind::Qdrant => {
                let upstream = self.upstream(of, handles.connections.clone())?;
                let own = qdrant_settings(of, self.settings)?;
                let splits = self.metrics.split_upserts.clone();
                Arc::new(Qdrant::new(upstream, own, handles.clone(), splits))
            }
            StoreKind::Embedded => {
                let engine = Arc::new(Embedded::open(&self.settings.folder(role))?);
                self.embedded.lock().push((role, Arc::clone(&engine)));
                Arc::new(Rest::trying(engine, version(), of.ef_search))
            }
            StoreKind::Pgvector => {
                let settings = pgvector_settings(of, self.settings)?;
                let engine = Arc::new(Pgvector::new(settings)?);
                self.pgvector.lock().push((role, Arc::clone(&engine)));
                Arc::new(Rest::trying(engine, version(), of.ef_search))
            }
        };
        let breaker = BreakerSettings {
            failures: of.breaker_failures,
            open: of.breaker_open,
            open_max: of.breaker_open_max,
        };
        Ok(Arc::new(Guarded::new(inner, role, breaker, handles)))
    }

    fn upstream(&self, of: &config::Store, open: Gauge) -> Result<Upstream> {
        let settings = UpstreamSettings {
            connect_timeout: of.connect_timeout,
            idle_timeout: of.idle_timeout,
            idle_connections_max: of.idle_connections_max,
            http2: of.http2,
            secure: of.url.as_ref().is_some_and(config::StoreUrl::is_tls),
            tls: net::client_tls(of.tls_ca.as_deref())?,
        };
        Ok(Upstream::new(
            &settings,
            open,
            self.tasks,
            self.stop.clone(),
        ))
    }
}

pub(super) fn cache_settings(settings: &Settings) -> Result<CacheSettings> {
    let of = &settings.cache;
    let collections = settings.collections.iter().map(|(name, own)| {
        let policy = CollectionPolicy {
            enabled: own.cache,
            ttl: own.ttl_beside(of.ttl),
            tenant_key: own.tenant_key.clone(),
        };
        (name.clone(), policy)
    });
    let kib = usize::try_from(of.max_entry_kb).unwrap_or(usize::MAX);
    let redis = of.redis_url.as_ref().map(|url| -> Result<_> {
        let redis = RedisSettings::new(url, of.redis_password.as_ref(), store_mark(settings))?;
        Ok(redis.keeping(of.redis_ttl, of.l1_ttl_when_blind))
    });
    Ok(CacheSettings {
        policy: Policy {
            enabled: of.enabled,
            ttl: of.ttl,
            entry_bytes_max: kib.saturating_mul(1024),
            collections: collections.collect(),
        },
        memory_bytes: of.memory_mb.saturating_mul(1024 * 1024),
        settle: of.settle,
        stale_while_revalidate: of.stale_while_revalidate.unwrap_or_default(),
        stale_if_error: of.stale_if_error.unwrap_or_default(),
        company: match of.redis_url {
            Some(_) => Company::Shared,
            None => Company::Alone,
        },
        vector_rounding: of.vector_rounding,
        redis: redis.transpose()?,
    })
}

/// What tells our stores from those of other sidecars that share a Redis.
fn store_mark(settings: &Settings) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key("outrigger stores 1");
    for of in std::iter::once(&settings.primary).chain(&settings.secondary) {
        let url = of.url.as_ref().map_or("", config::StoreUrl::expose);
        let key = of.api_key.as_ref().map_or("", config::Secret::expose);
        for part in [of.kind.as_str(), url, key] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        if of.kind == StoreKind::Embedded {
            // It is this process's alone.
            hasher.update(&rand::random::<u128>().to_le_bytes());
        }
    }
    hasher.finalize().as_bytes().to_vec()
}

fn pgvector_settings(of: &config::Store, settings: &Settings) -> Result<PgvectorSettings> {
    let url = of
        .url
        .as_ref()
        .ok_or_else(|| Error::settings("a pgvector store needs a url"))?;
    Ok(PgvectorSettings {
        url: url.expose().to_owned(),
        tls: net::client_tls(of.tls_ca.as_deref())?,
        has_authority: of.tls_ca.is_some(),
        pool_size: of.pool_size,
        connect_timeout: of.connect_timeout,
        read_timeout: of.read_timeout,
        write_timeout: of.write_timeout,
        slow_timeout: of.slow_timeout,
        data_dir: settings.data_dir.clone(),
        adopted: settings.adopted(),
        tells_by_redis: settings.cache.redis_url.is_some(),
    })
}

fn qdrant_settings(of: &config::Store, settings: &Settings) -> Result<QdrantSettings> {
    let url = of
        .url
        .as_ref()
        .ok_or_else(|| Error::settings("a qdrant store needs a url"))?;
    let authority = Authority::try_from(url.authority())
        .map_err(|error| Error::settings("use the store's url").with_source(error))?;
    let key = of
        .api_key
        .as_ref()
        .map(|key| HeaderValue::from_str(key.expose()))
        .transpose();
    let mut api_key =
        key.map_err(|error| Error::settings("use the store's api_key").with_source(error))?;
    if let Some(key) = &mut api_key {
        key.set_sensitive(true);
    }
    Ok(QdrantSettings {
        scheme: if url.is_tls() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        },
        authority,
        path_prefix: url.path_prefix().to_owned(),
        api_key,
        pause: settings.server.body_timeout,
        body_limit: QDRANT_BODY_LIMIT,
    })
}
