/// One thing that was looked at: what was found, and what to do if that is not as it should be.
pub(super) struct Check {
    pub(super) id: &'static str,
    /// The trust domain that it is of, if the server has several.
    pub(super) of: Option<String>,
    pub(super) result: Result<String, String>,
    pub(super) fix: &'static str,
}

impl Check {
    pub(super) const fn new(id: &'static str, result: Result<String, String>, fix: &'static str) -> Self {
        Self { id, of: None, result, fix }
    }

    pub(super) fn of(self, trust_domain: &str) -> Self {
        Self { of: Some(trust_domain.to_owned()), ..self }
    }
}
