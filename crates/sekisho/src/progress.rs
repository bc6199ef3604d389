//! What takes longer than a second says so on stderr: counting up on a terminal, one line elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sekisho_runtime::duration_text;

const SECOND: Duration = Duration::from_secs(1);

/// Shown until it is dropped.
pub(crate) struct Progress {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    pub(crate) fn of(what: &str) -> Self {
        let (end, ends) = channel::<()>();
        let what = what.to_owned();
        let thread = std::thread::spawn(move || {
            let is_terminal = std::io::stderr().is_terminal();
            let mut seconds = 0;
            while ends.recv_timeout(SECOND) == Err(RecvTimeoutError::Timeout) {
                seconds += 1;
                show(&mut std::io::stderr(), is_terminal, &what, seconds);
            }
            if is_terminal && seconds > 0 {
                // The line is free again.
                let _unread = write!(std::io::stderr(), "\r\u{1b}[K");
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}

fn show(out: &mut impl Write, is_terminal: bool, what: &str, seconds: u64) {
    // Nothing depends on it.
    let _shown = match (is_terminal, seconds) {
        (true, _) => write!(out, "\r{what}: {}", duration_text(seconds)).and_then(|()| out.flush()),
        (false, 1) => writeln!(out, "{what} …"),
        (false, _) => Ok(()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_counts() {
        let shown = |is_terminal| {
            let mut out = vec![];
            (1..=3).for_each(|seconds| show(&mut out, is_terminal, "copying", seconds));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(true), "\rcopying: 1s\rcopying: 2s\rcopying: 3s");
        assert_eq!(shown(false), "copying …\n");
    }
}
