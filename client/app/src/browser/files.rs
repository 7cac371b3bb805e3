//! Bytes and texts as files: addresses of images, and downloads.

use gloo_timers::callback::Timeout;
use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, BlobPropertyBag, HtmlElement, Url};

use super::document;

/// How long the address of a file stays valid, in milliseconds, because browsers read it after the click.
const DOWNLOAD_MS: u32 = 60_000;

/// A `blob:` address, which is revoked when this is dropped.
#[derive(Debug)]
pub(crate) struct ObjectUrl(String);

impl ObjectUrl {
    pub(crate) fn of_bytes(bytes: &[u8], media_type: &str) -> Option<Self> {
        let parts = Array::of1(&js_sys::Uint8Array::from(bytes));
        Self::of(&Blob::new_with_u8_array_sequence_and_options(&parts, &options(media_type)).ok()?)
    }

    fn of(blob: &Blob) -> Option<Self> {
        Url::create_object_url_with_blob(blob).ok().map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Drop for ObjectUrl {
    fn drop(&mut self) {
        // Fails for no address that was made here.
        let _: Result<(), JsValue> = Url::revoke_object_url(&self.0);
    }
}

/// A file in the making. Its parts are with the browser, which may keep them on the disk.
#[derive(Debug)]
pub(crate) struct FileParts {
    parts: Array,
    media_type: &'static str,
}

impl FileParts {
    pub(crate) fn new(media_type: &'static str) -> Self {
        Self {
            parts: Array::new(),
            media_type,
        }
    }

    pub(crate) fn push(&mut self, text: &str) {
        if let Ok(part) = Blob::new_with_str_sequence(&Array::of1(&text.into())) {
            self.parts.push(&part);
        }
    }

    /// Offers the file to the user under a name.
    pub(crate) fn download(&self, name: &str) {
        let url = self.offer(name);
        Timeout::new(DOWNLOAD_MS, move || drop(url)).forget();
    }

    fn offer(&self, name: &str) -> Option<ObjectUrl> {
        let blob = Blob::new_with_blob_sequence_and_options(&self.parts, &options(self.media_type)).ok()?;
        let url = ObjectUrl::of(&blob)?;
        let link: HtmlElement = document().create_element("a").ok()?.dyn_into().ok()?;
        link.set_attribute("href", url.as_str()).ok()?;
        link.set_attribute("download", name).ok()?;
        link.click();
        Some(url)
    }
}

/// The bytes of a file; none if it is gone or the browser may not read it.
pub(crate) async fn read(file: &Blob) -> Option<Vec<u8>> {
    let buffer = wasm_bindgen_futures::JsFuture::from(file.array_buffer()).await.ok()?;
    Some(js_sys::Uint8Array::new(&buffer).to_vec())
}

fn options(media_type: &str) -> BlobPropertyBag {
    let options = BlobPropertyBag::new();
    options.set_type(media_type);
    options
}
