//! Clients of the worker's site that send and read slowly, while the container's health check asks and
//! jobs are done.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::images::ShapeName;
use crate::job::Job;
use crate::report::Report;
use crate::stage::{Campaign, Login};
use crate::worker::IndexVersion;

const NAME: &str = "clients";
const SECTION: &str = "fault of HTTP clients";

/// How long they stay.
const STAY: Duration = Duration::from_secs(30);

/// The time in which a health check has to be answered.
const LONGEST_CHECK: Duration = Duration::from_secs(5);

/// How much the worker may use more after they have gone.
const MORE_DESCRIPTORS: usize = 24;
const MORE_MEMORY_KIB: u64 = 64 << 10;

/// What a client does with its connection.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Sends nothing.
    Silent,
    /// Sends a byte of its head a second.
    Drips,
    /// Asks again and again and reads nothing.
    ReadsNothing,
    /// Sends what is no HTTP.
    Noise,
}

impl Habit {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Silent, "connections on which nothing comes"),
        (Self::Drips, "heads that come byte by byte"),
        (Self::ReadsNothing, "answers that nobody reads"),
        (Self::Noise, "what is no HTTP"),
    ];
}

/// Runs the stage.
pub(crate) async fn http_clients(campaign: Campaign) -> anyhow::Result<Report> {
    let mut stage = campaign.stage(NAME, IndexVersion::V2, Login::Basic, 4).await;
    stage.start_worker()?;
    let count = campaign.pick(100, 500);
    let jobs = (0..20).map(|number| Job::new(NAME, number, ShapeName::Small, "jobs beside them"));
    stage.jobs = jobs.collect();
    stage.prepare();
    let address = SocketAddr::from(([127, 0, 0, 1], stage.workers[0].port));
    let up = Instant::now() + Duration::from_secs(20);
    while !stage.plan.is_healthy(&stage.workers[0]).await {
        anyhow::ensure!(Instant::now() < up, "{NAME}: the worker does not become healthy");
        sleep(Duration::from_millis(100)).await;
    }
    stage.send(Duration::ZERO).await?;
    stage.drained(campaign.deadline).await;
    let before = stage.workers[0].usage();
    let mut clients = JoinSet::new();
    for (habit, what) in Habit::ALL {
        for _ in 0..count {
            clients.spawn(misbehave(address, habit));
        }
        stage.report.injected(SECTION, what, count);
    }
    for number in 20..40 {
        let mut job = Job::new(NAME, number, ShapeName::Small, "jobs beside them");
        job.prepare(&stage.registry, &campaign.shapes);
        job.send(&campaign.aws, NAME, &campaign.shapes)?;
        stage.jobs.push(job);
    }
    let (mut checks, mut failed, mut live) = (0, 0, 0);
    let gone = Instant::now() + STAY;
    let mut ticks = interval(Duration::from_secs(2));
    while Instant::now() < gone {
        ticks.tick().await;
        checks += 1;
        let healthy = timeout(LONGEST_CHECK, stage.plan.is_healthy(&stage.workers[0]));
        let (healthy, answered) = tokio::join!(healthy, is_live(address));
        failed += usize::from(!healthy.unwrap_or(false));
        live += usize::from(answered.is_ok());
    }
    stage.report.note(format!(
        "{} slow HTTP clients: {failed} of {checks} health checks failed; /livez answered another \
         address {live} times of {checks}",
        count * Habit::ALL.len(),
    ));
    if failed > 0 {
        let story = format!("{failed} of {checks} health checks failed beside slow HTTP clients");
        stage.report.fail(story);
    }
    clients.shutdown().await;
    stage.drained(campaign.deadline).await;
    // Longer than idle connections are kept.
    sleep(Duration::from_secs(12)).await;
    let after = stage.workers[0].usage();
    stage.report.note(format!(
        "the worker with slow HTTP clients: {} descriptors and {} MiB before, {} and {} MiB after",
        before.descriptors,
        before.resident_kib >> 10,
        after.descriptors,
        after.resident_kib >> 10,
    ));
    if after.descriptors > before.descriptors + MORE_DESCRIPTORS
        || after.resident_kib > before.resident_kib + MORE_MEMORY_KIB
    {
        stage.report.fail(format!("{NAME}: the worker leaks: {before:?} before, {after:?} after"));
    }
    stage.end(SECTION).await?;
    Ok(stage.report)
}

/// Does so for ever, on new connections where old ones are closed.
async fn misbehave(address: SocketAddr, habit: Habit) {
    loop {
        // What comes of it is the worker's matter.
        let _ = connect_and_misbehave(address, habit).await;
        sleep(Duration::from_millis(200)).await;
    }
}

async fn connect_and_misbehave(address: SocketAddr, habit: Habit) -> anyhow::Result<()> {
    // Another address of this machine than the checks have.
    let mut stream = connect(address, [127, 0, 0, 2]).await?;
    let head =
        b"GET /status HTTP/1.1\r\nhost: worker\r\nx-more: 0123456789012345678901234567890\r\n";
    match habit {
        Habit::Silent => {
            stream.read_u8().await?;
        }
        Habit::Drips => {
            for byte in head {
                stream.write_u8(*byte).await?;
                sleep(Duration::from_secs(1)).await;
            }
        }
        Habit::ReadsNothing => loop {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: worker\r\n\r\n").await?;
            sleep(Duration::from_millis(500)).await;
        },
        Habit::Noise => {
            stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]).await?;
            stream.read_u8().await?;
        }
    }
    Ok(())
}

/// Whether `/livez` answers well in time.
async fn is_live(address: SocketAddr) -> anyhow::Result<()> {
    let asked = async {
        let mut stream = connect(address, [127, 0, 0, 1]).await?;
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        answer.starts_with("HTTP/1.1 200").then_some(()).context("it is not alive")
    };
    timeout(LONGEST_CHECK, asked).await?
}

async fn connect(address: SocketAddr, from: [u8; 4]) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    Ok(socket.connect(address).await?)
}
