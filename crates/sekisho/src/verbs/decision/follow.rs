//! Records as they come.

use std::collections::HashSet;

use sekisho_api::DecisionForm;
use serde::Deserialize;

use super::filter::Filter;
use super::row::line;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Format, painted};
use crate::rest::Lines;
use crate::view::View;

/// What the server sends.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sent {
    Missed { missed_batches: u64 },
    Record(Box<DecisionForm>),
}

/// Shows what was listed, newest last, and each record that comes, until the server ends it.
pub(crate) async fn follow(
    mut lines: Lines,
    filter: &Filter,
    listed: Vec<DecisionForm>,
    mut show: impl FnMut(&DecisionForm) -> Result<(), Failure>,
) -> Result<Exit, Failure> {
    let mut known: HashSet<String> = listed.iter().map(|form| form.id.clone()).collect();
    listed.iter().rev().try_for_each(&mut show)?;
    while let Some(line) = lines.next().await? {
        match serde_json::from_str(&line) {
            Ok(Sent::Record(form)) => {
                if filter.wants(&form) && !known.remove(&form.id) {
                    show(&form)?;
                }
            }
            Ok(Sent::Missed { missed_batches }) => {
                eprintln!("sekisho: records came faster than they were read: {missed_batches} batches are not shown");
            }
            Err(error) => return Err(Failure::failed(format!("the server's line is of another version ({error})"))),
        }
    }
    Err(Failure::failed("the server closed the stream: it stops, or this caller is not an operator any more"))
}

/// Who sees records, and in which form.
pub(crate) struct Shown {
    format: Format,
    view: View,
}

impl Shown {
    pub(crate) const fn new(global: &Global, view: View) -> Self {
        Self { format: global.output, view }
    }

    pub(crate) fn print(&self, form: &DecisionForm) -> Result<(), Failure> {
        if self.format.is_for_people() {
            return crate::output::line(&painted(&line(form, &self.view)));
        }
        crate::output::line(&serde_json::to_string(form).map_err(Failure::failed)?)
    }
}
