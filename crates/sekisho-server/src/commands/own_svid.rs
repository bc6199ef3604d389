use sekisho_identity::Request;

use crate::command::{Command, Own};
use crate::domain::Shared;
use crate::issue::{Asker, IssueError, issue};
use crate::issue_x509::{IssuedX509, X509};

/// The server's own SVID, through the same gate as every other.
pub(crate) struct OwnSvid {
    pub public_key: Vec<u8>,
}

impl Command for OwnSvid {
    type Caller = Own;
    type Reply = IssuedX509;
    type Error = IssueError;

    async fn run(self, domain: &Shared, _own: &Own) -> Result<IssuedX509, IssueError> {
        let request = Request::ServerSvid { public_key: &self.public_key };
        issue(domain, &Asker::server(&domain.view, &domain.identity), request, X509).await
    }
}
