//! Admission of callers, the same for gRPC and REST: a caller is checked by its headers, so that strangers send no
//! content, and again when its whole request has arrived. Time passes in between, and its right may end (law L6).

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use http_body_util::LengthLimitError;

use crate::denied::Denied;
use crate::executor::{Admitted, Connection, admit};
use crate::refusal::Refusal;
use crate::roles::Role;

/// Longest message, and longest content of a REST request, in bytes.
pub(crate) const LONGEST: usize = 4 * 1024 * 1024;
/// The same for callers without an identity: requests that anyone may send are short.
const LONGEST_OF_ANYONE: usize = 64 * 1024;
/// How long the content of a request may take to arrive after its headers: the longest at 70 KB/s.
pub(crate) const SLOWEST: Duration = Duration::from_secs(60);

/// A caller that was admitted by the headers of its request.
pub(crate) struct Admission {
    connection: Arc<Connection>,
    role: Role,
    admitted: Admitted,
}

impl Admission {
    pub(crate) async fn begin(connection: &Arc<Connection>, role: Role) -> Result<Self, Refusal<Denied>> {
        let admitted = admit(connection, role).await?;
        Ok(Self { connection: connection.clone(), role, admitted })
    }

    pub(crate) const fn is_for_operator(&self) -> bool {
        self.admitted.is_operator()
    }

    /// Admits a request when all of it has arrived in time, has at most `limit` bytes, and its caller may still send
    /// it. Without a limit it has several messages: its handler checks the caller at each.
    pub(crate) async fn finish(self, request: &mut Request, limit: Option<usize>) -> Result<(), Refusal<Denied>> {
        let Self { connection, role, mut admitted } = self;
        if let Some(limit) = limit {
            let is_known = admitted.is_operator() || admitted.is_agent();
            let limit = if is_known { limit } else { limit.min(LONGEST_OF_ANYONE) };
            *request.body_mut() = match whole(std::mem::take(request.body_mut()), limit, SLOWEST).await {
                Ok(body) => body,
                Err(denied) => return Err(connection.refuse(denied).await),
            };
            admitted = admit(&connection, role).await?;
        }
        admitted.into_extension(request.extensions_mut());
        Ok(())
    }
}

async fn whole(body: Body, limit: usize, slowest: Duration) -> Result<Body, Denied> {
    let came = tokio::time::timeout(slowest, to_bytes(body, limit)).await;
    let bytes = came.map_err(|_| Denied::Slow(slowest))?.map_err(|error| {
        let is_too_long = error.source().is_some_and(<dyn Error>::is::<LengthLimitError>);
        if is_too_long { Denied::TooLong(limit) } else { Denied::Incomplete }
    })?;
    Ok(Body::from(bytes))
}

#[cfg(test)]
mod tests;
