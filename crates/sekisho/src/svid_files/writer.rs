//! Writes each set that the agent sends, and tries again until it is written.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sekisho_runtime::{instant, now};
use tokio::time::{Instant, sleep, sleep_until};

use super::folder::{Folder, Published};
use super::follow::Followed;
use super::material::Material;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often the time of day is compared with the expiry: a machine that slept finds it late by this at most.
const LOOK: Duration = Duration::from_secs(30);

pub(crate) struct Writer {
    pub folder: Folder,
    followed: Followed,
    /// What the files hold.
    pub held: Arc<Material>,
    has_expired: bool,
    failed: Option<Unwritten>,
}

/// A set that could not be written, on a full disk for example.
struct Unwritten {
    material: Arc<Material>,
    pause: Duration,
    again: Instant,
}

impl Writer {
    /// Writes the first set.
    pub(crate) fn start(folder: Folder, followed: Followed, first: Arc<Material>) -> io::Result<(Self, Published)> {
        let published = folder.publish(&first)?;
        Ok((Self { folder, followed, held: first, has_expired: false, failed: None }, published))
    }

    /// Waits for the next set and writes it. One that cannot be written is tried again, with longer and longer pauses,
    /// until a newer one comes. May be dropped and called again; `None` once the agent is followed no longer.
    pub(crate) async fn next(&mut self) -> Option<Published> {
        loop {
            let again = self.failed.as_ref().map(|failed| failed.again);
            let left = self.held.not_after.nanos().saturating_sub(now().nanos());
            let left = Duration::from_nanos(u64::try_from(left).unwrap_or(0)).min(LOOK);
            let (material, pause) = tokio::select! {
                biased;
                next = self.followed.next() => (next?, FIRST_PAUSE),
                () = sleep_until(again.unwrap_or_else(instant)), if again.is_some() => match &self.failed {
                    Some(failed) => (failed.material.clone(), (failed.pause * 2).min(LONGEST_PAUSE)),
                    None => continue,
                },
                () = sleep(left), if !self.has_expired => {
                    self.report_expiry();
                    continue;
                }
            };
            if let Some(published) = self.write(material, pause) {
                return Some(published);
            }
        }
    }

    fn write(&mut self, material: Arc<Material>, pause: Duration) -> Option<Published> {
        match self.folder.publish(&material) {
            Ok(published) => {
                (self.held, self.has_expired) = (material, false);
                // An attempt that failed may have made it current: no program has heard of it.
                let has_failed = self.failed.take().is_some();
                Some(if has_failed && published == Published::Same { Published::Changed } else { published })
            }
            Err(error) => {
                eprintln!("sekisho: {}: {error}; again in {} s", self.folder.path.display(), pause.as_secs());
                self.failed = Some(Unwritten { material, pause, again: instant() + pause });
                None
            }
        }
    }

    fn report_expiry(&mut self) {
        self.has_expired = now() >= self.held.not_after;
        if self.has_expired {
            let (folder, expiry) = (self.folder.path.display(), self.held.not_after);
            eprintln!("sekisho: the files in {folder} expired at {expiry}: peers refuse them until the next SVID");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::*;
    use crate::svid_files::folder::Ownership;

    const END: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_set_that_failed_is_written_later() {
        let own = tempfile::tempdir().unwrap();
        let path = own.path().join("svid");
        let (sent, received) = watch::channel(None);
        let folder = Folder::open(&path, Ownership::default()).unwrap();
        let followed = Followed::of(received);
        let (mut writer, published) = Writer::start(folder, followed, Arc::new(Material::of_test("1"))).unwrap();
        assert_eq!(published, Published::First);
        // In the place of the link is a folder, which a link does not replace.
        let current = path.join("..data");
        let set = std::fs::read_link(&current).unwrap();
        std::fs::remove_file(&current).unwrap();
        std::fs::create_dir(&current).unwrap();
        sent.send_replace(Some(Arc::new(Material::of_test("2"))));
        assert!(timeout(Duration::from_millis(200), writer.next()).await.is_err());
        assert!(writer.failed.is_some() && writer.held.serial == "1");
        std::fs::remove_dir(&current).unwrap();
        std::os::unix::fs::symlink(set, &current).unwrap();
        assert_eq!(timeout(END, writer.next()).await.unwrap(), Some(Published::Changed));
        assert_eq!((writer.held.serial.as_str(), writer.failed.is_none()), ("2", true));
        // It is of 1970.
        assert!(timeout(Duration::from_millis(200), writer.next()).await.is_err());
        assert!(writer.has_expired);
    }
}
