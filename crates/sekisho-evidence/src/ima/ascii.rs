//! The log's text form: `ascii_runtime_measurements`, an entry a line.

use super::binary::MAX_LOG_BYTES;
use super::entry::{IMA_PCR, ImaEntry, ImaLog, Template};
use crate::bytes::{Malformed, Reader};

impl ImaLog {
    /// Reads a log of at most 256 MiB. The text holds what the binary form holds, so the data are built again and
    /// checked against the digest of their line.
    ///
    /// # Errors
    /// As for the binary form; also templates whose text form loses data.
    pub fn parse_ascii(text: &str) -> Result<Self, Malformed> {
        let reader = Reader::new("IMA log", text.as_bytes());
        if text.len() > MAX_LOG_BYTES {
            return Err(reader.refusal("it is larger than 256 MiB"));
        }
        text.lines().map(line).collect::<Result<_, _>>().map(|entries| Self { entries })
    }
}

fn line(line: &str) -> Result<ImaEntry, Malformed> {
    let reader = Reader::new("line of an IMA log", &[]);
    let refuse = |why| reader.refusal(why);
    let mut parts = line.splitn(4, ' ');
    let mut next = || parts.next().ok_or_else(|| refuse("a field is missing"));
    let (pcr, sha1, name, rest) = (next()?, next()?, next()?, next()?);
    if pcr.parse() != Ok(IMA_PCR) {
        return Err(refuse("an entry measures into another PCR than 10"));
    }
    let template = Template::of_name(name.as_bytes()).ok_or_else(|| refuse("an entry's template is not known here"))?;
    let sha1 = hex::decode(sha1).ok().filter(|sha1| sha1.len() == 20);
    let sha1 = sha1.ok_or_else(|| refuse("the digest is not SHA-1 in hexadecimal"))?;
    let (digest, rest) = rest.split_once(' ').ok_or_else(|| refuse("the path is missing"))?;
    let (algorithm, digest) =
        digest.rsplit_once(':').ok_or_else(|| refuse("the digest does not name its algorithm"))?;
    let digest = hex::decode(digest).map_err(|_| refuse("a file's digest is not hexadecimal"))?;
    let mut data = sized([algorithm.as_bytes(), b":\0", &digest].concat());
    // A path may hold blanks; what follows it does not.
    let mut tail: Vec<&str> = rest.rsplitn(template.more_fields() + 1, ' ').collect();
    let path = tail.pop().ok_or_else(|| refuse("the path is missing"))?;
    data.extend(sized([path.as_bytes(), b"\0"].concat()));
    if tail.len() != template.more_fields() {
        return Err(refuse("a field is missing"));
    }
    for field in tail.into_iter().rev() {
        data.extend(sized(hex::decode(field).map_err(|_| refuse("a field is not hexadecimal"))?));
    }
    ImaEntry::new(template, &sha1, &data)
}

fn sized(bytes: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [length.to_le_bytes().as_slice(), &bytes].concat()
}
