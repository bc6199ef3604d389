//! What tables show of ids, names and times. Programs get all of it; people get what they need to tell one from
//! another.

use sekisho_api::BundleForm;
use sekisho_runtime::{duration_text, now};
use sekisho_types::UnixTime;

use crate::global::Global;
use crate::output::Format;
use crate::rest::Rest;

/// Digits of an id that a table shows: 12 are its time, and a prefix that is unique is enough for each verb.
const DIGITS: usize = 16;

/// Who looks, and at what.
#[derive(Debug)]
pub(crate) struct View {
    wide: bool,
    /// The server's own trust domain, which tables leave out.
    own: Option<String>,
    now: UnixTime,
}

impl View {
    pub(crate) async fn of(global: &Global, rest: &Rest) -> Self {
        // A name that is not known is shown whole.
        let asked = global.output == Format::Table;
        let bundle = if asked { rest.get::<BundleForm>("/v1/bundle").await.ok() } else { None };
        Self { wide: !asked, own: bundle.map(|bundle| bundle.trust_domain), now: now() }
    }

    /// An id, in a length that tells it from others.
    pub(crate) fn id(&self, id: &str) -> String {
        let digits = id.find('_').map_or(0, |at| at + 1);
        let is_ours = digits == 4 && id.bytes().skip(digits).all(|byte| byte.is_ascii_hexdigit());
        match id.get(..digits + DIGITS) {
            Some(short) if is_ours && !self.wide => short.to_owned(),
            _ => id.to_owned(),
        }
    }

    /// A SPIFFE ID; one of the server's own trust domain as its path.
    pub(crate) fn spiffe_id(&self, id: &str) -> String {
        let own = self.own.as_deref().filter(|_| !self.wide);
        let path =
            own.and_then(|own| id.strip_prefix("spiffe://")?.strip_prefix(own)).filter(|path| path.starts_with('/'));
        path.unwrap_or(id).to_owned()
    }

    /// How long ago that was.
    pub(crate) fn ago(&self, at: UnixTime) -> String {
        if self.wide { at.to_string() } else { span_text(self.now.seconds_since(at)) }
    }

    /// How long it is until then.
    pub(crate) fn left(&self, until: UnixTime) -> String {
        match until.seconds_since(self.now) {
            _ if self.wide => until.to_string(),
            ..=0 => "expired".to_owned(),
            left => span_text(left),
        }
    }
}

fn span_text(seconds: i64) -> String {
    duration_text(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_what_tells_one_from_another() {
        let now = UnixTime::from_seconds(1_800_000_000);
        let view = View { wide: false, own: Some("td".into()), now };
        assert_eq!(view.id("dec_0193ab4f6c2d1a2b00112233445566ff"), "dec_0193ab4f6c2d1a2b");
        for whole in ["chosen-by-an-operator", "ent_named-by-an-operator", "tok_0123456789abcdef"] {
            assert_eq!(view.id(whole), whole);
        }
        assert_eq!(view.spiffe_id("spiffe://td/a/b"), "/a/b");
        assert_eq!(view.spiffe_id("spiffe://td.other/a"), "spiffe://td.other/a");
        assert_eq!(
            (view.ago(now.plus_seconds(-200)), view.left(now.plus_seconds(7300))),
            ("3m20s".into(), "2h1m".into())
        );
        assert_eq!(view.left(now), "expired");
        let wide = View { wide: true, ..view };
        assert_eq!(wide.spiffe_id("spiffe://td/a/b"), "spiffe://td/a/b");
        assert_eq!(wide.ago(now), "2027-01-15T08:00:00Z");
    }
}
