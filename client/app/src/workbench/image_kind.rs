//! Which binary messages are images that a browser shows.

/// The bytes of an image that is shown, at most: the browser decodes it into far more.
const MAX_IMAGE_BYTES: usize = 8 << 20;

/// The media type of an image, by its first bytes: <https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern>. None for anything
/// else; SVG, which is a document, is not among them.
pub(crate) fn image_kind(bytes: &[u8]) -> Option<&'static str> {
    if bytes.len() > MAX_IMAGE_BYTES {
        return None;
    }
    let is_webp = || bytes.starts_with(b"RIFF") && bytes.get(8..14) == Some(b"WEBPVP");
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        Some("image/gif")
    } else if is_webp() {
        Some("image/webp")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_first_bytes_and_svg_is_none() {
        assert_eq!(image_kind(b"\x89PNG\r\n\x1a\n1234"), Some("image/png"));
        assert_eq!(image_kind(b"\xff\xd8\xff\xe0"), Some("image/jpeg"));
        assert_eq!(image_kind(b"GIF89a"), Some("image/gif"));
        assert_eq!(image_kind(b"RIFF\0\0\0\0WEBPVP8L"), Some("image/webp"));
        for bytes in [&b""[..], b"PNG", b"<svg xmlns=", b"RIFF\0\0\0\0WAVEfmt "] {
            assert_eq!(image_kind(bytes), None);
        }
    }

    #[test]
    fn a_large_image_is_not_decoded() {
        let mut bytes = b"GIF89a".to_vec();
        bytes.resize(MAX_IMAGE_BYTES + 1, 0);
        assert_eq!(image_kind(&bytes), None);
    }
}
