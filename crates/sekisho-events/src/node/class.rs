/// What a record is, as it is searched for. Segments hold it as a number, so the order is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordClass {
    Allow,
    Deny,
    Refusal,
}

impl RecordClass {
    pub const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::Refusal];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Refusal => "refusal",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// As segments hold it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::Deny => 1,
            Self::Refusal => 2,
        }
    }

    /// A number of another release is that of a refusal: what is kept with more care.
    pub fn of(number: u8) -> Self {
        Self::ALL.into_iter().find(|class| class.number() == number).unwrap_or(Self::Refusal)
    }
}
