//! A snapshot that is to be recovered, brought into a file: from a form, from a URL, or from where
//! it lies already.

use std::path::{Path, PathBuf};

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::shelf::{Draft, Shelf, cannot};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::net::{self, Body, FetchError};
use crate::wire::rest::refuse;
use crate::wire::{Multipart, MultipartError};

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// A file to recover from. A draft goes away when it is dropped.
pub(super) enum Source {
    Draft(Draft),
    Kept(PathBuf),
}

impl Source {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Draft(draft) => draft.path(),
            Self::Kept(path) => path,
        }
    }
}

/// Writes the file of an upload's form.
pub(super) async fn from_form(
    headers: &HeaderMap,
    mut body: Body,
    shelf: &Shelf,
) -> Result<Source> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let mut form = Multipart::new(kind.unwrap_or_default(), "snapshot").map_err(no_form)?;
    let draft = shelf.draft()?;
    let mut file = create(draft.path()).await?;
    while let Some(piece) = body.next_piece().await {
        let piece = piece.map_err(|error| {
            let text = "Outrigger: the request's body ended early";
            Error::new(ErrorKind::BadInput, Origin::Client, Retry::Safe, text).with_source(error)
        })?;
        for bytes in form.push(&piece).map_err(no_form)? {
            write(&mut file, &bytes).await?;
        }
    }
    form.finish().map_err(no_form)?;
    finish(file).await?;
    Ok(Source::Draft(draft))
}

/// Finds, or fetches, what a location leads to.
pub(super) async fn from_location(
    location: &Url,
    api_key: Option<&str>,
    root: &Path,
    shelf: &Shelf,
) -> Result<Source> {
    match location.scheme() {
        "file" => from_file(location, root).map(Source::Kept),
        "http" | "https" => from_url(location, api_key, shelf).await.map(Source::Draft),
        other => Err(refuse::bad_request(&format!(
            "URL {location} with scheme {other} is not supported"
        ))),
    }
}

/// Only what lies in the folder of snapshots, whatever links lead there.
fn from_file(location: &Url, root: &Path) -> Result<PathBuf> {
    let path = location.to_file_path().map_err(|()| {
        refuse::bad_request("Invalid snapshot URI, file path must be absolute or on localhost")
    })?;
    if !path.exists() {
        return Err(refuse::bad_request(&format!(
            "Snapshot file {path:?} does not exist"
        )));
    }
    let resolve = |path: &Path| {
        path.canonicalize()
            .map_err(|error| cannot("find the snapshot", error))
    };
    let inside = root
        .exists()
        .then(|| resolve(root))
        .transpose()?
        .unwrap_or_else(|| root.to_path_buf());
    let path = resolve(&path)?;
    if !path.starts_with(&inside) {
        return Err(refuse::forbidden(&format!(
            "Snapshot file path must be inside the snapshots directory {inside:?}"
        )));
    }
    Ok(path)
}

async fn from_url(location: &Url, api_key: Option<&str>, shelf: &Shelf) -> Result<Draft> {
    let mut headers = HeaderMap::new();
    if let Some(key) = api_key {
        let mut key = HeaderValue::from_str(key)
            .map_err(|_not_ascii| refuse::bad_request("api_key cannot be sent in a header"))?;
        key.set_sensitive(true);
        headers.insert(API_KEY, key);
    }
    let mut body = net::fetch(location, headers)
        .await
        .map_err(|error| match &error {
            FetchError::Unreachable(_) => refuse::service_error(&format!(
                "Http request error: error sending request for url ({location})"
            ))
            .with_source(error),
            FetchError::Status(status) => refuse::wrong_input(&format!(
                "Failed to download snapshot from {location}: status - {status}"
            )),
        })?;
    let draft = shelf.draft()?;
    let mut file = create(draft.path()).await?;
    while let Some(piece) = body.next_piece().await {
        let piece = piece.map_err(|error| {
            refuse::service_error(&format!(
                "Http request error: error reading the body of {location}"
            ))
            .with_source(error)
        })?;
        write(&mut file, &piece).await?;
    }
    finish(file).await?;
    Ok(draft)
}

async fn create(path: &Path) -> Result<tokio::fs::File> {
    tokio::fs::File::create(path)
        .await
        .map_err(|error| cannot("write the snapshot", error))
}

async fn write(file: &mut tokio::fs::File, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes)
        .await
        .map_err(|error| cannot("write the snapshot", error))
}

async fn finish(mut file: tokio::fs::File) -> Result<()> {
    file.flush()
        .await
        .map_err(|error| cannot("write the snapshot", error))
}

fn no_form(error: MultipartError) -> Error {
    let text = match error {
        MultipartError::NoBoundary => "Could not find Content-Type header with a form's boundary",
        MultipartError::Malformed => "Multipart form is malformed or ends early",
        MultipartError::FieldMissing => "Field with name 'snapshot' is required",
    };
    refuse::bad_request(text)
}
