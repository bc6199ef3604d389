/// One thing that was looked at: what was found, and what to do if that is not as it should be.
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) result: Result<String, String>,
    pub(super) fix: &'static str,
}

impl Check {
    pub(super) const fn new(id: &'static str, result: Result<String, String>, fix: &'static str) -> Self {
        Self { id, result, fix }
    }
}
