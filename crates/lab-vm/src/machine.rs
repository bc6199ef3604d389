//! Virtual machines: QEMU without hardware acceleration, OVMF, a software TPM and a disk.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::evidence::Evidence;
use crate::image::Image;
use crate::packages::Packages;
use crate::run::{at, run};
use crate::tpm::Running;

/// How long a boot and each answer may take. A boot takes 20 to 60 s.
const PATIENCE: Duration = Duration::from_secs(240);
const DISK_BYTES: u64 = 64 << 20;
const MARK: &str = "lab: ";

/// How the firmware treats images.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// It runs any image.
    Open,
    /// Secure Boot: it runs images that the key of OVMF's tests signed.
    Secure,
}

/// A machine that is switched off: the state of its TPM, the variables of its firmware, its disk.
pub struct Machine<'a> {
    packages: &'a Packages,
    folder: PathBuf,
    firmware: Firmware,
    pub tpm: PathBuf,
    pub disk: PathBuf,
}

impl<'a> Machine<'a> {
    /// A new machine in this folder, with the TPM whose state is there.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn new(packages: &'a Packages, folder: PathBuf, tpm: PathBuf, firmware: Firmware) -> Result<Self, String> {
        let variables = packages.firmware.join(match firmware {
            Firmware::Open => "OVMF_VARS_4M.fd",
            Firmware::Secure => "OVMF_VARS_4M.snakeoil.fd",
        });
        at(&folder, std::fs::create_dir_all(folder.join("esp/EFI/BOOT")))?;
        at(&variables, std::fs::copy(&variables, folder.join("vars.fd")))?;
        let disk = folder.join("disk");
        at(&disk, std::fs::File::create(&disk).and_then(|file| file.set_len(DISK_BYTES)))?;
        Ok(Self { packages, folder, firmware, tpm, disk })
    }

    /// Powers the machine on with this image, and waits until the agent is ready or has stopped.
    ///
    /// # Errors
    /// A program that does not start, or a machine that starts no agent.
    pub fn boot(&self, image: &Image) -> Result<Boot<'_>, String> {
        let mut boot = self.power_on(image)?;
        boot.started_after = boot.wait_for("started")?.1;
        let (answer, after) = boot.wait_for_any(&["ready", "stopped"])?;
        (boot.answer, boot.answered_after) = (answer, after);
        Ok(boot)
    }

    /// Powers the machine on, and returns what its console shows until the firmware refuses the image.
    ///
    /// # Errors
    /// The image runs.
    pub fn refuse(&self, image: &Image) -> Result<String, String> {
        let boot = self.power_on(image)?;
        let (line, _) = boot.wait_for_line(|line| line.contains("Access Denied") || line.contains(MARK))?;
        if line.contains(MARK) { Err("the firmware ran the image".to_owned()) } else { Ok(line) }
    }

    fn power_on(&self, image: &Image) -> Result<Boot<'_>, String> {
        let (started, loader) = (Instant::now(), self.folder.join("esp/EFI/BOOT/BOOTX64.EFI"));
        at(&image.path, std::fs::copy(&image.path, &loader))?;
        let tpm = Running::start(&self.tpm)?;
        let mut qemu = self.qemu(&tpm.socket);
        let piped = qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut program = piped.spawn().map_err(|error| format!("QEMU cannot be started: {error}"))?;
        let (to, console) = channel();
        let mut output = program.stdout.take().ok_or("QEMU has no output")?;
        let keyboard = program.stdin.take().ok_or("QEMU has no input")?;
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut part) {
                if to.send(part[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let console = Console { from: console, seen: std::cell::RefCell::default() };
        let zero = Duration::ZERO;
        Ok(Boot {
            machine: self,
            program,
            keyboard,
            console,
            started,
            started_after: zero,
            answered_after: zero,
            answer: String::new(),
            _tpm: tpm,
        })
    }

    fn qemu(&self, tpm: &Path) -> Command {
        let file = |path: &Path| path.display().to_string();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-cpu", "max", "-m", "768", "-smp", "1", "-no-reboot", "-nodefaults", "-display", "none"]);
        qemu.args(["-serial", "stdio", "-rtc", "base=utc"]);
        let code = match self.firmware {
            Firmware::Open => {
                qemu.args(["-machine", "q35,accel=tcg"]);
                "OVMF_CODE_4M.fd"
            }
            Firmware::Secure => {
                qemu.args(["-machine", "q35,smm=on,accel=tcg"]);
                qemu.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
                "OVMF_CODE_4M.secboot.fd"
            }
        };
        let code = file(&self.packages.firmware.join(code));
        let drives = [
            format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"),
            format!("if=pflash,format=raw,unit=1,file={}", file(&self.folder.join("vars.fd"))),
            format!("if=none,id=esp,format=raw,readonly=on,file=fat:{}", file(&self.folder.join("esp"))),
            format!("if=none,id=disk,format=raw,file={}", file(&self.disk)),
        ];
        drives.iter().for_each(|drive| {
            qemu.args(["-drive", drive]);
        });
        qemu.args(["-device", "virtio-blk-pci,drive=esp,bootindex=0", "-device", "virtio-blk-pci,drive=disk"]);
        qemu.arg("-chardev").arg(format!("socket,id=tpm,path={}", file(tpm)));
        qemu.args(["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"]);
        qemu.args(["-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile="]);
        qemu
    }
}

/// What a machine printed, in pieces as they come.
struct Console {
    from: Receiver<Vec<u8>>,
    seen: std::cell::RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    text: String,
    /// How much of the text was looked at.
    read: usize,
}

impl Console {
    /// The next whole line, or `None` when the machine is off.
    fn line(&self, until: Instant) -> Result<Option<String>, String> {
        loop {
            let mut seen = self.seen.borrow_mut();
            if let Some(length) = seen.text[seen.read..].find('\n') {
                let line = seen.text[seen.read..seen.read + length].trim_end().to_owned();
                seen.read += length + 1;
                return Ok(Some(line));
            }
            match self.from.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(part) => seen.text.push_str(&String::from_utf8_lossy(&part)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => return Err(format!("not within {} s", PATIENCE.as_secs())),
            }
        }
    }

    /// The last lines.
    fn tail(&self) -> String {
        let text = &self.seen.borrow().text;
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// A machine that runs. It is switched off when this is dropped.
pub struct Boot<'a> {
    machine: &'a Machine<'a>,
    program: Child,
    keyboard: ChildStdin,
    console: Console,
    started: Instant,
    /// From power on to the first process.
    pub started_after: Duration,
    /// From power on to the agent's answer.
    pub answered_after: Duration,
    /// `ready`, or `stopped` with the reason.
    answer: String,
    _tpm: Running,
}

impl Boot<'_> {
    /// The agent attested and serves; or why it stopped.
    pub fn admitted(&self) -> Result<(), String> {
        if self.answer == "ready" { Ok(()) } else { Err(self.answer.clone()) }
    }

    /// The SPIFFE IDs that root's processes in the machine get.
    ///
    /// # Errors
    /// The machine does not answer.
    pub fn identities(&mut self) -> Result<Vec<String>, String> {
        let answer = self.ask("svid")?;
        Ok(answer.split_whitespace().filter(|word| word.starts_with("spiffe://")).map(str::to_owned).collect())
    }

    /// Has the machine do one of the things that its first process knows.
    ///
    /// # Errors
    /// The machine does not answer.
    pub fn ask(&mut self, what: &str) -> Result<String, String> {
        let keys = self.keyboard.write_all(format!("{what}\n").as_bytes()).and_then(|()| self.keyboard.flush());
        keys.map_err(|error| format!("the machine takes no input: {error}"))?;
        self.wait_for(what).map(|(answer, _)| answer)
    }

    /// Switches the machine off in order, and reads what it left on its disk.
    ///
    /// # Errors
    /// It does not switch off, or its disk has no archive.
    pub fn power_off(mut self) -> Result<Evidence, String> {
        self.ask("off")?;
        self.wait_until_off()?;
        let out = self.machine.folder.join("out");
        let _former = std::fs::remove_dir_all(&out);
        at(&out, std::fs::create_dir_all(&out))?;
        run(Command::new("tar").arg("-xf").arg(&self.machine.disk).arg("-C").arg(&out).arg("./out"))?;
        Evidence::read(&out.join("out"))
    }

    fn wait_until_off(&self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while self.console.line(until)?.is_some() {}
        Ok(())
    }

    fn wait_for(&self, word: &str) -> Result<(String, Duration), String> {
        self.wait_for_any(&[word])
    }

    fn wait_for_any(&self, words: &[&str]) -> Result<(String, Duration), String> {
        let is_answer = |line: &str| {
            let answer = line.split_once(MARK).map(|(_, answer)| answer);
            answer.is_some_and(|answer| words.iter().any(|word| answer.split(' ').next() == Some(word)))
        };
        let (line, after) = self.wait_for_line(is_answer)?;
        Ok((line.split_once(MARK).map(|(_, answer)| answer.to_owned()).unwrap_or_default(), after))
    }

    fn wait_for_line(&self, wanted: impl Fn(&str) -> bool) -> Result<(String, Duration), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.console.line(until);
            match line.map_err(|error| format!("{error}; its console:\n{}", self.console.tail()))? {
                Some(line) if wanted(&line) => return Ok((line, self.started.elapsed())),
                Some(_) => {}
                None => return Err(format!("it stopped; its console:\n{}", self.console.tail())),
            }
        }
    }
}

impl Drop for Boot<'_> {
    fn drop(&mut self) {
        let _dead = self.program.kill();
        let _reaped = self.program.wait();
    }
}
