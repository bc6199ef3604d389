//! What a key signs in a handshake of TLS 1.3.

/// Before the context: bytes with which nothing else that keys sign begins (RFC 8446 §4.4.3).
const PAD: [u8; 64] = [0x20; 64];
const CONTEXTS: [&[u8]; 2] = [b"TLS 1.3, server CertificateVerify\0", b"TLS 1.3, client CertificateVerify\0"];
/// Lengths of a transcript's hash: SHA-256 and SHA-384, the hashes of all cipher suites.
const HASHES: [usize; 2] = [32, 48];

/// Whether a signature of this serves a handshake of TLS 1.3, and nothing else: a key that signs only this cannot be
/// used for certificates, tokens or another protocol.
pub fn is_tls13_handshake(content: &[u8]) -> bool {
    let context = content.strip_prefix(&PAD).unwrap_or_default();
    CONTEXTS.into_iter().filter_map(|name| context.strip_prefix(name)).any(|hash| HASHES.contains(&hash.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(pad: usize, context: &str, hash: usize) -> Vec<u8> {
        [vec![0x20; pad], context.as_bytes().to_vec(), vec![7; hash]].concat()
    }

    #[test]
    fn only_handshakes_of_tls13_are_signed() {
        for side in ["server", "client"] {
            let context = format!("TLS 1.3, {side} CertificateVerify\0");
            for hash in 0..=64 {
                assert_eq!(is_tls13_handshake(&content(64, &context, hash)), hash == 32 || hash == 48, "{hash}");
            }
            for pad in [0, 63, 65, 128] {
                assert!(!is_tls13_handshake(&content(pad, &context, 32)), "{pad}");
            }
        }
        for context in [
            "",
            "\0",
            "TLS 1.3, server CertificateVerify",
            "TLS 1.3, proxy CertificateVerify\0",
            "TLS 1.2, server CertificateVerify\0",
            "tls 1.3, server CertificateVerify\0",
        ] {
            assert!(!is_tls13_handshake(&content(64, context, 32)), "{context:?}");
        }
        assert!(!is_tls13_handshake(&[]));
    }
}
