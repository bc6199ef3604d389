//! A warning or an error that repeats is logged when it begins, and then more and more seldom, with its count.
//!
//! Two events are the same if they come from the same line of code with the same texts. Numbers, `id`, `now` and
//! `client_text` are details of one event: an error for process 7 and the same error for process 8 are one error that
//! repeats.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::danger::TARGET;
use crate::instant;

const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// An event that did not occur for this long is new again.
const QUIET: Duration = Duration::from_secs(60);
/// Different events that are remembered at most.
const MAX_EVENTS: usize = 256;
/// Fields that differ between repetitions of one event.
const DETAILS: [&str; 3] = ["id", "now", "client_text"];

struct Seen {
    /// Not logged since the last line.
    unlogged: u64,
    at: tokio::time::Instant,
    logged_at: tokio::time::Instant,
    pause: Duration,
}

/// Which events were logged lately.
#[derive(Default)]
struct Limiter(Mutex<HashMap<u64, Seen>>);

impl Limiter {
    /// If this event is logged now: how many equal ones were not logged since the last line.
    fn admit(&self, key: u64) -> Option<u64> {
        let now = instant();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(event) = seen.get_mut(&key) else {
            if seen.len() >= MAX_EVENTS {
                let oldest = seen.iter().min_by_key(|(_, event)| event.at).map(|(key, _)| *key);
                oldest.map(|oldest| seen.remove(&oldest));
            }
            seen.insert(key, Seen { unlogged: 0, at: now, logged_at: now, pause: FIRST_PAUSE });
            return Some(0);
        };
        let was_quiet = now.duration_since(event.at) >= QUIET;
        event.at = now;
        if was_quiet {
            event.pause = FIRST_PAUSE;
        } else if now.duration_since(event.logged_at) < event.pause {
            event.unlogged += 1;
            return None;
        } else {
            event.pause = (event.pause * 2).min(LONGEST_PAUSE);
        }
        event.logged_at = now;
        Some(std::mem::take(&mut event.unlogged))
    }
}

/// What makes an event the same as another.
struct Key(DefaultHasher);

impl Key {
    fn of(event: &Event<'_>) -> u64 {
        let mut key = Self(DefaultHasher::new());
        event.metadata().callsite().hash(&mut key.0);
        event.record(&mut key);
        key.0.finish()
    }
}

impl Visit for Key {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !DETAILS.contains(&field.name()) {
            let _into_hash = write!(self, "{value:?};");
        }
    }

    fn record_i64(&mut self, _: &Field, _: i64) {}

    fn record_u64(&mut self, _: &Field, _: u64) {}

    fn record_f64(&mut self, _: &Field, _: f64) {}
}

impl Write for Key {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// A format of log lines in which repeated warnings and errors are rare.
pub(crate) struct Limited<F> {
    format: F,
    limiter: Limiter,
}

impl<F> Limited<F> {
    pub(crate) fn new(format: F) -> Self {
        Self { format, limiter: Limiter::default() }
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        // Law L16: dangers are always shown.
        if *metadata.level() > Level::WARN || metadata.target() == TARGET {
            return self.format.format_event(context, to, event);
        }
        match self.limiter.admit(Key::of(event)) {
            None => Ok(()),
            Some(0) => self.format.format_event(context, to, event),
            Some(count) => {
                let mut line = String::new();
                self.format.format_event(context, Writer::new(&mut line), event)?;
                to.write_str(&with_count(&line, count))
            }
        }
    }
}

/// A line, as JSON or text, with the number of equal events that were not logged.
fn with_count(line: &str, count: u64) -> String {
    let line = line.trim_end();
    match line.strip_suffix('}').filter(|_| line.starts_with('{')) {
        Some(open) => format!("{open},\"repeated\":{count}}}\n"),
        None => format!("{line} repeated={count}\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn take(&self) -> Vec<String> {
            let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// Collects log lines of this thread until the guard is dropped.
    fn logged_as_json() -> (Lines, tracing::subscriber::DefaultGuard) {
        let lines = Lines::default();
        let builder = tracing_subscriber::fmt().with_writer(lines.clone()).json().flatten_event(true);
        let subscriber = builder.without_time().map_event_format(Limited::new).finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn fail(id: u64, witness: &str, error: &str) {
        tracing::error!(%id, witness, %error, count = id, "a witness did not cosign");
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_failure_is_logged_with_a_count() {
        let (lines, _guard) = logged_as_json();
        let mut at = vec![];
        for second in 0..100 {
            fail(second, "w1", "no answer");
            for line in lines.take() {
                let (_, count) = line.split_once("\"repeated\":").unwrap_or(("", "0}"));
                at.push((second, count.trim_end_matches('}').parse::<u64>().unwrap()));
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(at, [(0, 0), (10, 9), (30, 19), (70, 39)]);
    }

    #[tokio::test(start_paused = true)]
    async fn another_reason_is_logged_at_once() {
        let (lines, _guard) = logged_as_json();
        for (witness, error) in [("w1", "no answer"), ("w2", "no answer"), ("w1", "bad signature")] {
            for _again in 0..3 {
                fail(1, witness, error);
            }
        }
        assert_eq!(lines.take().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clients_text_makes_no_new_failure() {
        let (lines, _guard) = logged_as_json();
        for client_text in ["one", "two", "three"] {
            tracing::warn!(?client_text, "a client rejects what it was sent");
        }
        assert_eq!(lines.take().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_quiet_minute_a_failure_is_new() {
        let (lines, _guard) = logged_as_json();
        for pause in [1, 1, 60, 0] {
            fail(1, "w1", "no answer");
            tokio::time::advance(Duration::from_secs(pause)).await;
        }
        let lines = lines.take();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].ends_with("\"repeated\":2}"), "{}", lines[1]);
    }

    #[tokio::test(start_paused = true)]
    async fn law_l16_dangers_and_information_are_not_limited() {
        let (lines, _guard) = logged_as_json();
        for _again in 0..3 {
            crate::danger("danger_test", "a rule is off");
            tracing::info!("an agent joined");
        }
        assert_eq!(lines.take().len(), 6);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let limiter = Limiter::default();
        for key in 0..10_000 {
            assert_eq!(limiter.admit(key), Some(0));
        }
        assert_eq!(limiter.0.lock().unwrap().len(), MAX_EVENTS);
        assert_eq!(limiter.admit(9_999), None);
    }

    #[test]
    fn a_text_line_ends_with_the_count() {
        assert_eq!(with_count("WARN x: sync failed\n", 7), "WARN x: sync failed repeated=7\n");
    }
}
