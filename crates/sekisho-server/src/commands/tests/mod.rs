//! Each command: what it does, whom it is refused to, what conflicts with it, and what of it is on record.

mod agents;
mod issuing;
mod operators;
mod recording;

use sekisho_events::{Event, Refused};

use crate::testbed::Testbed;

/// What the log says of a refusal.
fn says(refused: &Refused) -> (String, String, usize) {
    let withdrawn = refused.withdrawn.as_ref().map_or(0, |ids| ids.0.len());
    (refused.caller.value().unwrap().clone(), refused.reason.value().unwrap().clone(), withdrawn)
}

/// The words for what is on record, of events after the first `skip`.
async fn words(bed: &Testbed, skip: usize) -> Vec<&'static str> {
    bed.recorded().await.iter().skip(skip).map(Event::says).collect()
}
