//! What the programs of a test write to their logs, and how many of its tasks panicked.

use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::{Arc, Mutex, Once};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

thread_local!(static PANICS: Cell<usize> = const { Cell::new(0) });

/// A test and all of its programs have one thread.
#[derive(Clone)]
pub(super) struct Output {
    lines: Lines,
    panics_before: usize,
    _guard: Rc<tracing::subscriber::DefaultGuard>,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(super) fn of_this_thread() -> Self {
        static COUNTS_PANICS: Once = Once::new();
        COUNTS_PANICS.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                PANICS.set(PANICS.get() + 1);
                before(info);
            }));
        });
        let lines = Lines::default();
        let log = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_ansi(false);
        let _guard = Rc::new(log.with_writer(lines.clone()).finish().set_default());
        Self { lines, panics_before: PANICS.get(), _guard }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.0.lock().unwrap()).into_owned()
    }

    pub(super) fn panics(&self) -> usize {
        PANICS.get() - self.panics_before
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Shown with a test that fails.
        eprint!("{}", String::from_utf8_lossy(bytes));
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
