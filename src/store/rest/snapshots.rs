//! Snapshots of a collection, of its one shard, and of everything: made, listed, sent, deleted and
//! recovered.
//!
//! What is in a file is the engine's business. That of everything is a tar of one such file a
//! collection, and `config.json` with the names of the collections they are of and the aliases.
//! Work that changes something runs in a task of its own; with `wait=false` the answer does not
//! wait for it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a family answers its own operations and hands the rest on"
)]
#![expect(
    clippy::await_holding_invalid_type,
    reason = "changes of the catalogue are rare and must follow one another"
)]

mod download;
mod incoming;
mod shelf;

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use serde::Serialize;
use tokio::time::Instant;
use validator::Validate;

use self::incoming::Source;
use self::shelf::{Draft, Shelf, cannot};
use super::cluster::PEER;
use super::context::{self, Reply, Served};
use super::reads;
use super::service::not_served;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::{Class, Operation};
use crate::net::Body;
use crate::store::PassAnswer;
use crate::task;
use crate::wire::rest::snapshot::{SnapshotDescription, SnapshotRecover, upload_checksum};
use crate::wire::rest::{path, refuse};
use crate::wire::{self, Params, Recognised, envelope};

/// As much as Qdrant reads of a request to recover.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;

pub(super) async fn answer(
    served: &Arc<Served>,
    operation: Operation,
    head: Parts,
    body: Body,
    began: Instant,
) -> Result<PassAnswer> {
    let call = Call::read(served, operation, head)?;
    if operation.class() == Class::SnapshotRead {
        return call.read_only(began).await;
    }
    let wait = call.params.wait;
    // The body is read before anything is answered: it is the client's to send.
    let work = call.begin(body).await?;
    let work = task::spawn("snapshot", work);
    if !wait {
        served.leave_running(work);
        return Ok(accepted(began));
    }
    let reply = work.await.map_err(|error| {
        let doing = "carry out a write";
        let (kind, retry) = (ErrorKind::Internal, Retry::OutcomeUnknown);
        Error::new(kind, Origin::Proxy, retry, doing).with_source(error)
    })??;
    Ok(reply.into_answer(began.elapsed()))
}

fn accepted(began: Instant) -> PassAnswer {
    let mut answer = Response::new(Body::full(envelope::accepted(began.elapsed())));
    *answer.status_mut() = StatusCode::ACCEPTED;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// A request, its path and query read.
struct Call {
    served: Arc<Served>,
    operation: Operation,
    head: Parts,
    params: Params,
    /// As in the path; empty for those of everything.
    collection: String,
    snapshot: String,
}

type Work = std::pin::Pin<Box<dyn Future<Output = Result<Reply>> + Send>>;

impl Call {
    fn read(served: &Arc<Served>, operation: Operation, head: Parts) -> Result<Self> {
        let recognised = wire::recognise(&head.method, head.uri.path());
        context::check_path(&recognised)?;
        check_shard(&recognised)?;
        let params = Params::read(operation, head.uri.query())?;
        let owned = |name: Option<std::borrow::Cow<'_, str>>| {
            name.map(std::borrow::Cow::into_owned).unwrap_or_default()
        };
        let (collection, snapshot) = (owned(recognised.collection()), owned(recognised.snapshot()));
        Ok(Self {
            served: Arc::clone(served),
            operation,
            head,
            params,
            collection,
            snapshot,
        })
    }

    fn root(&self) -> &Path {
        self.served.engine.snapshots_folder()
    }

    /// Where the snapshots of what the path names are kept. The collection is there.
    async fn shelf(&self) -> Result<Shelf> {
        if self.collection.is_empty() {
            return Ok(Shelf::of_everything(self.root()));
        }
        let collection = self.served.collection(&self.collection).await?;
        Ok(self.shelf_of(&collection.name))
    }

    fn shelf_of(&self, collection: &str) -> Shelf {
        match self.operation {
            Operation::ListShardSnapshots
            | Operation::CreateShardSnapshot
            | Operation::DownloadShardSnapshot
            | Operation::DeleteShardSnapshot
            | Operation::StreamShardSnapshot
            | Operation::UploadShardSnapshot
            | Operation::RecoverShardSnapshot => Shelf::of_shard(self.root(), collection),
            _ => Shelf::of_collection(self.root(), collection),
        }
    }

    async fn read_only(self, began: Instant) -> Result<PassAnswer> {
        let shelf = self.shelf().await?;
        match self.operation {
            Operation::ListSnapshots
            | Operation::ListFullSnapshots
            | Operation::ListShardSnapshots => {
                let all = blocking(move || shelf.list()).await?;
                Ok(Reply::result(&all)?.into_answer(began.elapsed()))
            }
            Operation::DownloadSnapshot
            | Operation::DownloadFullSnapshot
            | Operation::DownloadShardSnapshot => match shelf.find(&self.snapshot) {
                Ok(path) => download::send(&path, &self.snapshot, &self.head.headers, ()).await,
                Err(error) => Ok(plain_not_found(&error)),
            },
            Operation::StreamShardSnapshot => {
                let collection = self.served.collection(&self.collection).await?;
                let draft = shelf.draft()?;
                self.served
                    .engine
                    .snapshot(&collection.name, draft.path())
                    .await?;
                let path = draft.path().to_path_buf();
                let name = format!("{}-shard-0.snapshot", collection.name);
                download::send(&path, &name, &self.head.headers, draft).await
            }
            _ => Err(not_served(self.operation)),
        }
    }

    /// Reads what the request brings, and gives the work that it asks for.
    async fn begin(self, body: Body) -> Result<Work> {
        match self.operation {
            Operation::UploadSnapshot | Operation::UploadShardSnapshot => {
                let checksum = upload_checksum(self.head.uri.query())?;
                let shelf = self.shelf_of(&self.target().await?);
                let source = incoming::from_form(&self.head.headers, body, &shelf).await?;
                Ok(Box::pin(self.recover(source, checksum)))
            }
            Operation::RecoverSnapshot | Operation::RecoverShardSnapshot => {
                let request = read_request(body).await?;
                Ok(Box::pin(self.fetch_and_recover(request)))
            }
            Operation::CreateSnapshot
            | Operation::CreateShardSnapshot
            | Operation::CreateFullSnapshot => Ok(Box::pin(self.create())),
            Operation::DeleteSnapshot
            | Operation::DeleteShardSnapshot
            | Operation::DeleteFullSnapshot => Ok(Box::pin(self.delete())),
            _ => Err(not_served(self.operation)),
        }
    }

    async fn create(self) -> Result<Reply> {
        let shelf = self.shelf().await?;
        let made = if self.collection.is_empty() {
            let draft = shelf.draft()?;
            pack_everything(&self.served, draft.path()).await?;
            keep(shelf, draft, "full-snapshot".to_owned()).await?
        } else {
            let collection = self.served.collection(&self.collection).await?;
            let stem = match self.operation {
                Operation::CreateShardSnapshot => format!("{}-shard-0", collection.name),
                _ => format!("{}-{PEER}", collection.name),
            };
            let draft = shelf.draft()?;
            self.served
                .engine
                .snapshot(&collection.name, draft.path())
                .await?;
            keep(shelf, draft, stem).await?
        };
        Reply::result(&made)
    }

    async fn delete(self) -> Result<Reply> {
        let shelf = self.shelf().await?;
        let name = self.snapshot;
        blocking(move || shelf.remove(&name)).await?;
        Reply::result(&true)
    }

    /// The collection that a recovery is for: the one an alias leads to, or one to be made.
    async fn target(&self) -> Result<String> {
        match self.served.collection(&self.collection).await {
            Ok(collection) => Ok(collection.name.clone()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                path::new_collection(&self.collection)?;
                path::storable(&self.collection)?;
                Ok(self.collection.clone())
            }
            Err(error) => Err(error),
        }
    }

    async fn fetch_and_recover(self, request: SnapshotRecover) -> Result<Reply> {
        let shelf = self.shelf_of(&self.target().await?);
        let key = request.api_key.as_deref();
        let source = incoming::from_location(&request.location, key, self.root(), &shelf).await?;
        self.recover(source, request.checksum).await
    }

    async fn recover(self, source: Source, checksum: Option<String>) -> Result<Reply> {
        if let Some(expected) = checksum {
            let path = source.path().to_path_buf();
            let hashed = blocking(move || {
                shelf::hash(&path).map_err(|error| cannot("read the snapshot", error))
            });
            let actual = hashed.await?;
            if !actual.eq_ignore_ascii_case(&expected) {
                return Err(checksum_mismatch(&expected, &actual));
            }
        }
        let _change = self.served.changes.lock().await;
        let name = self.target().await?;
        self.served.engine.restore(&name, source.path()).await?;
        self.served.forget(&name);
        Reply::result(&true)
    }
}

/// A collection is one shard, number 0.
fn check_shard(recognised: &Recognised<'_>) -> Result<()> {
    match recognised.shard() {
        None => Ok(()),
        Some(shard) => reads::check_shard(reads::shard_number(Some(&*shard))?),
    }
}

fn checksum_mismatch(expected: &str, actual: &str) -> Error {
    let text = format!("Snapshot checksum mismatch: expected {expected}, got {actual}");
    Error::new(ErrorKind::BadInput, Origin::Client, Retry::Never, text)
}

/// Qdrant's one refusal outside the envelope.
fn plain_not_found(error: &Error) -> PassAnswer {
    let mut answer = Response::new(Body::full(error.to_string()));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, text);
    answer
}

async fn read_request(mut body: Body) -> Result<SnapshotRecover> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next_piece().await {
        let piece = piece.map_err(|error| {
            let text = "Outrigger: the request's body ended early";
            Error::new(ErrorKind::BadInput, Origin::Client, Retry::Safe, text).with_source(error)
        })?;
        bytes.extend_from_slice(&piece);
        if bytes.len() > REQUEST_BYTES_MAX {
            let text = envelope::payload_exceeded(REQUEST_BYTES_MAX as u64);
            return Err(Error::new(
                ErrorKind::BadInput,
                Origin::Client,
                Retry::Never,
                text,
            ));
        }
    }
    let request: SnapshotRecover =
        serde_json::from_slice(&bytes).map_err(|error| refuse::format_error(&error.to_string()))?;
    request
        .validate()
        .map_err(|errors| refuse::validation("JSON body", &errors))?;
    Ok(request)
}

async fn keep(shelf: Shelf, draft: Draft, stem: String) -> Result<SnapshotDescription> {
    blocking(move || shelf.keep(&draft, &stem)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    task::spawn_blocking("snapshot-files", work)
        .await
        .map_err(|error| {
            refuse::service_error("work on snapshots stopped half-way").with_source(error)
        })?
}

/// What a snapshot of everything says of itself.
#[derive(Serialize)]
struct Everything {
    /// Collection to the name of its file in the archive.
    collections_mapping: BTreeMap<String, String>,
    /// Alias to collection.
    collections_aliases: BTreeMap<String, String>,
}

async fn pack_everything(served: &Served, into: &Path) -> Result<()> {
    let aliases = served.engine.aliases().await?;
    let mut everything = Everything {
        collections_mapping: BTreeMap::new(),
        collections_aliases: BTreeMap::clone(&aliases),
    };
    let root = served.engine.snapshots_folder();
    let mut parts: Vec<(String, Draft)> = Vec::new();
    for name in served.engine.names().await? {
        let draft = Shelf::of_everything(root).draft()?;
        served.engine.snapshot(&name, draft.path()).await?;
        let file = format!("{}.snapshot", parts.len());
        everything.collections_mapping.insert(name, file.clone());
        parts.push((file, draft));
    }
    let into = into.to_path_buf();
    blocking(move || {
        pack(&everything, &parts, &into).map_err(|error| cannot("write the snapshot", error))
    })
    .await
}

fn pack(everything: &Everything, parts: &[(String, Draft)], into: &PathBuf) -> io::Result<()> {
    let mut archive = tar::Builder::new(File::create(into)?);
    let config = serde_json::to_vec(everything)?;
    let mut head = tar::Header::new_gnu();
    head.set_size(u64::try_from(config.len()).map_err(io::Error::other)?);
    head.set_mode(0o644);
    archive.append_data(&mut head, "config.json", config.as_slice())?;
    for (name, draft) in parts {
        archive.append_path_with_name(draft.path(), name)?;
    }
    archive.into_inner()?.sync_all()
}
