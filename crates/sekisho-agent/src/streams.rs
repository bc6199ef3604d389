//! How many streams each process has open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::refusal::Refusal;

/// Streams that one process may keep open.
const MAX_STREAMS_PER_PROCESS: u32 = 1024;

type Open = BTreeMap<i32, u32>;

#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<Open>>);

impl Streams {
    /// A place for one more stream of a process.
    pub(crate) fn open(&self, pid: i32) -> Result<StreamGuard, Refusal> {
        let mut streams = self.lock();
        let open = streams.entry(pid).or_insert(0);
        if *open >= MAX_STREAMS_PER_PROCESS {
            return Err(Refusal::Streams(MAX_STREAMS_PER_PROCESS));
        }
        *open += 1;
        drop(streams);
        Ok(StreamGuard { streams: self.clone(), pid })
    }

    pub(crate) fn count(&self) -> u32 {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a stream's place back when it ends.
pub(crate) struct StreamGuard {
    streams: Streams,
    pid: i32,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        if let Some(open) = streams.get_mut(&self.pid) {
            *open -= 1;
            if *open == 0 {
                streams.remove(&self.pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_l9_streams_of_one_process_are_bounded() {
        let streams = Streams::default();
        let mut open: Vec<_> = (0..MAX_STREAMS_PER_PROCESS).map(|_| streams.open(7).ok().unwrap()).collect();
        assert!(matches!(streams.open(7), Err(Refusal::Streams(MAX_STREAMS_PER_PROCESS))));
        let _other = streams.open(8).ok().unwrap();
        assert_eq!(streams.count(), MAX_STREAMS_PER_PROCESS + 1);
        open.pop();
        assert!(streams.open(7).is_ok());
        open.clear();
        assert_eq!((streams.count(), streams.lock().len()), (1, 1));
    }
}
