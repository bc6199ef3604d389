//! Signals by name, and those that `sekisho exec` passes on.

use std::io::IsTerminal;

use clap::ValueEnum;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What a program can be asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum Named {
    #[value(alias = "SIGHUP")]
    Hup,
    #[value(alias = "SIGUSR1")]
    Usr1,
    #[value(alias = "SIGUSR2")]
    Usr2,
    #[value(alias = "SIGTERM")]
    Term,
    #[value(alias = "SIGINT")]
    Int,
    #[value(alias = "SIGQUIT")]
    Quit,
}

impl Named {
    pub(crate) const fn signal(self) -> Signal {
        match self {
            Self::Hup => Signal::HUP,
            Self::Usr1 => Signal::USR1,
            Self::Usr2 => Signal::USR2,
            Self::Term => Signal::TERM,
            Self::Int => Signal::INT,
            Self::Quit => Signal::QUIT,
        }
    }
}

/// A signal that this process was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub signal: Signal,
    /// A terminal sends its own to all of its foreground processes, so that a program that we started has it too.
    pub is_of_terminal: bool,
}

/// Signals that this process was sent, in order. From now on they do not end it.
pub(crate) fn received() -> std::io::Result<mpsc::Receiver<Received>> {
    let (to, from) = mpsc::channel(16);
    let terminal = std::io::stdin().is_terminal();
    let every = [
        (SignalKind::terminate(), Signal::TERM, false),
        (SignalKind::hangup(), Signal::HUP, false),
        (SignalKind::user_defined1(), Signal::USR1, false),
        (SignalKind::user_defined2(), Signal::USR2, false),
        (SignalKind::interrupt(), Signal::INT, terminal),
        (SignalKind::quit(), Signal::QUIT, terminal),
    ];
    for (kind, number, is_of_terminal) in every {
        let (mut signals, to) = (signal(kind)?, to.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if to.send(Received { signal: number, is_of_terminal }).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(from)
}
