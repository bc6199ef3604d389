use std::sync::Arc;

use sekisho_identity::Request;

use crate::caller::ThisServer;
use crate::command::Command;
use crate::issue::{Asked, IssueError, Requester};
use crate::issue_x509::{IssuedX509, X509};
use crate::run::Run;

/// The server's own SVID, through the same gate as every other.
pub(crate) struct OwnSvid {
    pub public_key: Vec<u8>,
}

impl Command for OwnSvid {
    type Caller = ThisServer;
    type Reply = IssuedX509;
    type Error = IssueError;

    async fn run(self, run: &Run<'_, ThisServer>) -> Result<IssuedX509, IssueError> {
        let requester = Requester::server(&run.domain.view, &run.domain.identity);
        run.issue(&Arc::new(requester), X509, self).await
    }
}

impl Asked for OwnSvid {
    fn request(&self) -> Request<'_> {
        Request::ServerSvid { public_key: &self.public_key }
    }
}
