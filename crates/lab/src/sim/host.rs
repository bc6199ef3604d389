//! One simulated machine with the program that runs on it.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sekisho_disk::LossyDisk;
use sekisho_ports::{Fabric, Machine};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

pub(super) struct Host {
    pub name: String,
    pub machine: Arc<Machine>,
    running: Option<(Runtime, JoinHandle<Result<(), String>>)>,
    /// When it is to be started again.
    pub starts_at: Option<Duration>,
    /// How many syncs had failed on its disk when they were last counted, and when its program started.
    pub disk_failures: u64,
    failures_before: u64,
}

impl Host {
    pub(super) fn new(name: &str, seed: u64, address: IpAddr, fabric: &Fabric) -> Self {
        Self {
            name: name.to_owned(),
            machine: Machine::new(seed, address, fabric),
            running: None,
            starts_at: None,
            disk_failures: 0,
            failures_before: 0,
        }
    }

    pub(super) fn disk(&self) -> Arc<LossyDisk> {
        self.machine.device()
    }

    /// How many syncs failed since its program started.
    pub(super) fn failures_of_run(&self) -> u64 {
        self.disk().failures() - self.failures_before
    }

    pub(super) const fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Starts a program; all that it spawns runs on this machine.
    pub(super) fn start<F>(&mut self, at: Duration, program: impl FnOnce() -> F)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let machine = self.machine.clone();
        self.starts_at = None;
        self.failures_before = self.disk().failures();
        self.running = Some(machine.enter(|| {
            let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async { machine.begin(at) });
            let program = runtime.spawn(program());
            (runtime, program)
        }));
    }

    /// Runs until this time of the simulation. Returns how the program stopped, if it did.
    pub(super) fn run_until(&mut self, at: Duration) -> Option<Result<(), String>> {
        let (runtime, program) = self.running.as_mut()?;
        let machine = &self.machine;
        machine.enter(|| {
            runtime.block_on(async {
                if let Some(instant) = machine.instant(at) {
                    tokio::time::sleep_until(instant).await;
                }
            });
        });
        machine.settle(at);
        if !program.is_finished() {
            return None;
        }
        let stopped = machine.enter(|| runtime.block_on(program));
        self.crash(at);
        Some(stopped.unwrap_or_else(|error| Err(format!("panicked: {error}"))))
    }

    /// Ends the program wherever each of its tasks waits.
    pub(super) fn crash(&mut self, at: Duration) {
        self.machine.settle(at);
        self.machine.stop();
        let running = self.running.take();
        self.machine.enter(|| drop(running));
    }
}
