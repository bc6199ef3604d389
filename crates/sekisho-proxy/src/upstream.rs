//! A connector for the HTTP client that goes to the workload's own address, whatever the request says.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use sekisho_host::Process;
use tower::Service;

use crate::config::Local;
use crate::local::{self, LocalError, Stream};

#[derive(Clone)]
pub(crate) struct Connector {
    pub at: Local,
    pub workload: Arc<Process>,
}

impl Service<Uri> for Connector {
    type Response = Hop;
    type Error = LocalError;
    type Future = Pin<Box<dyn Future<Output = Result<Hop, LocalError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), LocalError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _target: Uri) -> Self::Future {
        let (at, workload) = (self.at.clone(), self.workload.clone());
        Box::pin(async move { local::connect(&at, &workload).await.map(|stream| Hop(TokioIo::new(stream))) })
    }
}

/// A connection to the workload.
pub(crate) struct Hop(TokioIo<Box<dyn Stream>>);

impl Connection for Hop {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Hop {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Hop {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
