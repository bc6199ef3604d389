//! Settings, in the text form of the log.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::member::Word;

/// What operators set, by name: words without blanks. Nothing of it is personal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingList(BTreeMap<String, String>);

impl SettingList {
    /// A value with a blank is left out; none of ours has one.
    pub fn of(settings: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let settings = settings.into_iter().filter(|(name, value)| is_word(name) && is_word(value));
        Self(settings.map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// `None` unless `text` is the one text of a list.
    pub fn parse(text: &str) -> Option<Self> {
        <Self as Word>::parse(text)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl std::fmt::Display for SettingList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

fn is_word(text: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/,".contains(&byte);
    (1..=256).contains(&text.len()) && text.bytes().all(byte)
}

impl Word for SettingList {
    const FORM: &'static str = "`name=value`, by blanks";

    fn text(&self) -> Cow<'_, str> {
        let words: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        words.join(" ").into()
    }

    fn parse(text: &str) -> Option<Self> {
        let word = |word: &str| {
            let (name, value) = word.split_once('=').filter(|(name, value)| is_word(name) && is_word(value))?;
            Some((name.to_owned(), value.to_owned()))
        };
        let words = text.split(' ').filter(|_| !text.is_empty());
        words.map(word).collect::<Option<_>>().map(Self).filter(|list| list.text() == text)
    }

    fn sample(seed: u64) -> Option<Self> {
        let some = [("agent_ttl_seconds", seed.to_string()), ("publish_log", seed.is_multiple_of(2).to_string())];
        Some(Self::of(some.into_iter().filter(|_| !seed.is_multiple_of(5))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_text() {
        let list = SettingList::of([("b", "2".to_owned()), ("a", "x/y".to_owned()), ("c", "two words".to_owned())]);
        assert_eq!(list.to_string(), "a=x/y b=2");
        assert_eq!(SettingList::parse("a=x/y b=2"), Some(list));
        assert_eq!(SettingList::parse(""), Some(SettingList::default()));
        for wrong in ["b=2 a=1", "a=1  b=2", "a=1 a=1", "a", "a=", "=1", " a=1", "a=1 "] {
            assert_eq!(SettingList::parse(wrong), None, "{wrong:?}");
        }
    }
}
