//! OPA's server over loopback: the time of its process for each call, and the time until the answer is there.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub struct Server {
    child: Child,
    stream: RefCell<BufReader<TcpStream>>,
    folder: std::path::PathBuf,
}

impl Server {
    pub fn start(program: &str, files: &[(&str, &str)]) -> Result<Server, String> {
        let text = |error: std::io::Error| error.to_string();
        let folder = std::env::temp_dir().join(format!("bench-engines-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(text)?;
        let mut paths = Vec::new();
        for (name, content) in files {
            let path = folder.join(name);
            std::fs::write(&path, content).map_err(text)?;
            paths.push(path);
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(text)?.port();
        let address = format!("127.0.0.1:{port}");
        let child = Command::new(program)
            .args(["run", "--server", "--log-level", "error", "--disable-telemetry", "--addr", &address])
            .args(&paths)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(text)?;
        let until = Instant::now() + Duration::from_secs(300);
        loop {
            match TcpStream::connect(&address) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(text)?;
                    return Ok(Server { child, stream: RefCell::new(BufReader::new(stream)), folder });
                }
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(format!("{program} does not listen: {error}")),
            }
        }
    }

    /// The time that the process had a processor.
    pub fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The value of a document for an input.
    pub fn ask(&self, path: &str, input: &Value) -> Result<Value, String> {
        let body = json!({"input": input}).to_string();
        let mut stream = self.stream.borrow_mut();
        let head = format!("POST /v1/data/{path} HTTP/1.1\r\nHost: opa\r\nContent-Length: {}\r\n\r\n", body.len());
        let text = |error: std::io::Error| error.to_string();
        stream.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat()).map_err(text)?;
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            stream.read_line(&mut line).map_err(text)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).map_err(text)?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        answer.get("result").cloned().ok_or_else(|| answer.to_string())
    }

    /// Calls of about two seconds.
    pub fn cost(&self, path: &str, input: &Value) -> String {
        let (began, cpu, mut calls) = (Instant::now(), self.cpu(), 0_u32);
        while began.elapsed() < Duration::from_secs(2) {
            if self.ask(path, input).is_err() {
                return "failed".to_owned();
            }
            calls += 1;
        }
        format!(
            "{:?} of processor time a call, {:?} until its answer",
            (self.cpu() - cpu) / calls,
            began.elapsed() / calls
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}
