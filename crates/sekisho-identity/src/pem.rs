use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// A block in PEM (RFC 7468), such as `CERTIFICATE` or `PRIVATE KEY`.
pub fn pem(label: &str, der: &[u8]) -> String {
    let encoded = BASE64.encode(der);
    let lines: Vec<&str> = encoded.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_have_64_characters() {
        let text = super::pem("X", &[0; 51]);
        assert_eq!(text, format!("-----BEGIN X-----\n{}\nAAAA\n-----END X-----\n", "A".repeat(64)));
    }
}
