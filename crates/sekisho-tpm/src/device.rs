//! Ways to a TPM: a character device, or the socket of a software TPM.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The longest response of a TPM (`TPM_PT_MAX_RESPONSE_SIZE` is 4,096 bytes).
pub(crate) const MAX_RESPONSE: usize = 4096;
const HEADER: usize = 10;
const TIMEOUT: Duration = Duration::from_secs(120);

/// Carries one command to a TPM and brings its response back.
pub trait Transport: Send {
    /// # Errors
    /// The TPM cannot be reached, or its response is not framed as the specification has it.
    fn transact(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
}

/// The kernel's device. Use the resource manager, `/dev/tpmrm0`: it isolates the sessions and objects of processes.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// # Errors
    /// No such device, or no permission to use it.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self)
    }
}

impl Transport for Device {
    fn transact(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        // The driver takes a command as one write and gives its response as one read.
        if self.0.write(command)? != command.len() {
            return Err(io::Error::other("the device did not take a command whole"));
        }
        let mut response = vec![0; MAX_RESPONSE];
        let length = self.0.read(&mut response)?;
        response.truncate(length);
        Ok(response)
    }
}

/// The data socket of a software TPM: `swtpm socket --server type=unixio,path=…`.
#[derive(Debug)]
pub struct Socket(UnixStream);

impl Socket {
    /// # Errors
    /// No such socket, or no process that accepts.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self(stream))
    }
}

impl Transport for Socket {
    fn transact(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        let mut response = vec![0; HEADER];
        self.0.read_exact(&mut response)?;
        let length = response.get(2..6).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes);
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        if !(HEADER..=MAX_RESPONSE).contains(&length) {
            return Err(io::Error::other("the response states a length that no TPM has"));
        }
        response.resize(length, 0);
        self.0.read_exact(response.get_mut(HEADER..).unwrap_or_default())?;
        Ok(response)
    }
}
