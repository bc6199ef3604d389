//! Decisions and refusals of nodes: those that are kept, and those that arrive.

use std::sync::Arc;
use std::time::Duration;

use sekisho_disk::Found;
use sekisho_events::{RecordClass, RecordId};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::query_error::QueryError;
use crate::caller::{Caller, Operator};
use crate::domain::Shared;
use crate::followers::Arrived;
use crate::query::Query;
use crate::record::id_of;

/// After this time without a record a follower hears that there is none, so that a connection that is gone is noticed.
const QUIET: Duration = Duration::from_secs(15);

/// The newest records, newest first: of one class, and from before one, if those are named.
pub(crate) struct ListDecisions {
    pub class: Option<RecordClass>,
    pub before: Option<RecordId>,
    pub limit: usize,
}

impl Query for ListDecisions {
    type Caller = Operator;
    type Reply = Result<Vec<Found>, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        let (of, class) = (of.clone(), self.class.map(RecordClass::number));
        let before = self.before.map_or(u128::MAX, RecordId::key);
        let newest = move || of.log.decisions.newest(class, before, self.limit);
        Ok(sekisho_runtime::blocking(newest).await?)
    }
}

/// The record of this id.
pub(crate) struct ShowDecision(pub String);

impl Query for ShowDecision {
    type Caller = Operator;
    type Reply = Result<Found, QueryError>;

    async fn answer(self, of: &Shared, _: &Operator) -> Self::Reply {
        let (of, id) = (of.clone(), RecordId::parse(&self.0));
        let find = move || id.and_then(|id| of.log.decisions.find(id.key(), |kept| id_of(kept) == id));
        let found = sekisho_runtime::blocking(find).await?;
        found.map(|(found, _)| found).ok_or(QueryError::NoDecision(self.0))
    }
}

/// Records from now on.
pub(crate) struct FollowDecisions;

impl Query for FollowDecisions {
    type Caller = Operator;
    type Reply = Result<Following, QueryError>;

    async fn answer(self, of: &Shared, by: &Operator) -> Self::Reply {
        let arrivals = of.streams.followers.records().ok_or(QueryError::TooManyFollow)?;
        Ok(Following { of: of.clone(), by: by.clone(), arrivals })
    }
}

/// An operator who follows.
pub(crate) struct Following {
    of: Shared,
    by: Operator,
    arrivals: Receiver<Arc<Arrived>>,
}

/// What a follower hears.
pub(crate) enum Followed {
    Arrived(Arc<Arrived>),
    /// So many batches came faster than they were read.
    Missed(u64),
    Quiet,
}

impl Following {
    /// What comes next. Nothing more does when the server stops, or the follower is no longer an operator (law L12).
    pub(crate) async fn next(&mut self) -> Option<Followed> {
        let arrived = tokio::select! {
            biased;
            () = self.of.watch.tasks.stop().wait() => return None,
            arrived = tokio::time::timeout(QUIET, self.arrivals.recv()) => arrived,
        };
        self.by.stands(&self.of.view).ok()?;
        match arrived {
            Err(_quiet) => Some(Followed::Quiet),
            Ok(Ok(batch)) => Some(Followed::Arrived(batch)),
            Ok(Err(RecvError::Lagged(missed))) => Some(Followed::Missed(missed)),
            Ok(Err(RecvError::Closed)) => None,
        }
    }
}
