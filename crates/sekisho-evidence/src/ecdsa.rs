//! Forms of an ECDSA signature.

pub(crate) fn signature_der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let mut content: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
        if content.first().is_none_or(|first| first & 0x80 != 0) {
            content.insert(0, 0);
        }
        [&[0x02, content.len() as u8], content.as_slice()].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [&[0x30, body.len() as u8], body.as_slice()].concat()
}
