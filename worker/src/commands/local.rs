//! `local`: a registry, a queue and a worker in this process. What is pushed to the registry is
//! indexed, on the same way that a push to ECR goes.

mod counted;
mod demo;
mod job_output;
mod lazy;
mod output;
mod running;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use soci_config::budget_of_this_process;
use soci_indexer::{Budget, Options};
use soci_jobs::{RegistryOpener, Runner};
use soci_manifest::Version;
use soci_push::PushRules;
use soci_push::TagFilters;
use soci_registry::Client;
use soci_registry_server::{LocalRegistry, RegistryServerSettings, RegistryStorage};
use soci_sandbox::{MemoryQueue, MemoryQueueOptions};
use soci_service::Service;
use soci_service::consumer::{ConsumerError, ConsumerSettings, Drained, Queues};
use soci_service::handler::IndexHandler;
use soci_service::metrics::Metrics;
use soci_text::{Runbook, error_chain};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::{JoinError, JoinHandle};

use crate::cli::LocalArgs;
use crate::process;
use crate::report;
use crate::usage::usage;
use job_output::{JobLines, JobSeen};
use output::say;
use running::Running;

/// Port of the registry unless another one is wanted, as docker's documentation has it.
const REGISTRY_PORT: u16 = 5000;

/// Port of the status page unless another one is wanted, as the worker has it.
const PAGE_PORT: u16 = 8080;

/// How long jobs may go on after the signal to stop. Somebody sits in front of it.
const DRAIN: Duration = Duration::from_secs(10);

/// How long one poll of the queue waits.
const POLL: Duration = Duration::from_millis(250);

/// How long requests to the registry may go on after that.
const GRACE: Duration = Duration::from_secs(2);

/// Runs until SIGINT or SIGTERM, or until the demonstration is over.
pub(crate) fn local(args: &LocalArgs) -> ExitCode {
    if args.index_version == Version::V1 && args.tag_suffix.is_some() {
        usage("--tag-suffix names the converted image, which only v2 makes");
    }
    let result = process::block_on(run(args)).map_err(|error| error_chain(error.as_ref()));
    match result.flatten() {
        Ok(code) => code,
        Err(failure) => {
            report::complain(failure);
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &LocalArgs) -> Result<ExitCode, String> {
    let told = process::told_to_stop();
    let told = told.map_err(|error| format!("signals cannot be handled: {error}"))?;
    let Started { running, registry, seen, stop, mut consuming, filtering } = start(args).await?;
    let shown = AtomicBool::new(false);
    let attended = async {
        if args.demo {
            demo::run(&running, args.demo_size, args.index_version, seen).await?;
            if !args.keep {
                return Ok(());
            }
            shown.store(true, Ordering::Relaxed);
            say(&format!(
                "\nThe registry http://{} and the status page http://{}/ stay. Ctrl-C stops.",
                running.registry, running.page
            ));
            std::future::pending().await
        } else {
            // What nobody receives is not kept.
            drop(seen);
            greet(&running, args);
            std::future::pending().await
        }
    };
    let result = tokio::select! {
        result = attended => result.map(|()| ExitCode::SUCCESS),
        signal = told => {
            report::note("stopping; Ctrl-C again ends it at once");
            // It is the ordinary end, unless the demonstration was not over.
            let early = args.demo && !shown.load(Ordering::Relaxed);
            Ok(if early { ExitCode::from(signal.exit_code()) } else { ExitCode::SUCCESS })
        }
        ended = &mut consuming => return Err(match worker_ended(ended) {
            Ok(_) => "the worker ended by itself".to_owned(),
            Err(error) => error,
        }),
    };
    // Those who have gone need no telling.
    let _ = stop.send(true);
    let drained = worker_ended(consuming.await)?;
    // It was told to stop as well, and says nothing.
    let _ = filtering.await;
    registry.stop(GRACE).await;
    let left = drained.given_back + drained.cut_off;
    if left > 0 {
        report::complain(format_args!("{left} images were left unfinished; push them again"));
    }
    result
}

/// Everything, running.
struct Started {
    running: Running,
    registry: LocalRegistry,
    seen: mpsc::UnboundedReceiver<JobSeen>,
    /// Tells all tasks to stop.
    stop: channel::Sender<bool>,
    consuming: JoinHandle<Result<Drained, ConsumerError>>,
    filtering: JoinHandle<()>,
}

async fn start(args: &LocalArgs) -> Result<Started, String> {
    let port = |port| if args.demo { 0 } else { port };
    let listener = listen("--listen", args.listen, port(REGISTRY_PORT)).await?;
    let page_listener = listen("--http", args.http, port(PAGE_PORT)).await?;
    let page = page_listener.local_addr().map_err(|error| error.to_string())?;
    let storage = match &args.storage {
        Some(folder) => RegistryStorage::Folder(folder.clone()),
        None => RegistryStorage::Temporary,
    };
    let rules = rules(args);
    let settings = RegistryServerSettings { storage, ..RegistryServerSettings::default() };
    let (registry, pushes) =
        LocalRegistry::start(listener, settings).await.map_err(|error| error_chain(&error))?;

    let service = Service::new(page_listener, consumer_settings(args), Runbook::default());
    let (lines, seen) = JobLines::new(!args.demo);
    let client = client(&service.metrics)?;
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let budget = Budget::new(cores, args.memory.unwrap_or_else(|| budget_of_this_process(None)));
    let options = options(args, &rules, budget.clone());
    let runner = Runner::new(RegistryOpener::new(client.clone(), None), options);
    let handler = IndexHandler { rules: rules.clone(), runner };
    let (live, dead_letters) = (queue("live"), queue("dead-letters"));

    let (stop, _) = channel::channel(false);
    let until_stopped = || {
        let mut stop = stop.subscribe();
        async move {
            // The sender is there until everything has stopped.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    };
    let (filter, stopped) =
        (job_output::forward(pushes, registry.address(), rules, live.clone()), until_stopped());
    let filtering = async move {
        tokio::select! {
            () = filter => {}
            () = stopped => {}
        }
    };
    let queues = Queues {
        live,
        backfill: None,
        dead_letters: Some(dead_letters),
        runbook: Runbook::default(),
    };
    let consuming = service.run(queues, handler, vec![Arc::new(lines)], until_stopped());
    Ok(Started {
        running: Running { registry: registry.address(), page, client, budget },
        registry,
        seen,
        consuming: tokio::spawn(consuming),
        filtering: tokio::spawn(filtering),
        stop,
    })
}

fn consumer_settings(args: &LocalArgs) -> ConsumerSettings {
    ConsumerSettings {
        max_jobs: args.max_concurrent_images.get(),
        drain_deadline: DRAIN,
        // A queue in memory is asked for nothing, and a poll that is pending holds up the end.
        long_poll: POLL,
        idle_poll: POLL,
        // The counts are at hand, and the page is looked at.
        backlog_interval: Duration::from_secs(2),
        // Nobody else could: the queue is in this process.
        look_at_letters: true,
        ..ConsumerSettings::default()
    }
}

fn queue(name: &str) -> MemoryQueue {
    MemoryQueue::new(MemoryQueueOptions { name: name.to_owned(), ..MemoryQueueOptions::default() })
}

fn worker_ended(
    ended: Result<Result<Drained, ConsumerError>, JoinError>,
) -> Result<Drained, String> {
    match ended {
        Ok(ended) => ended.map_err(|error| error_chain(&error)),
        Err(error) => Err(format!("the worker failed: {error}")),
    }
}

/// What is added to the tags of results.
fn suffix(args: &LocalArgs) -> String {
    args.tag_suffix.clone().unwrap_or_else(|| "-soci".to_owned())
}

/// Which pushes are work.
fn rules(args: &LocalArgs) -> PushRules {
    PushRules {
        version: args.index_version,
        output_suffix: suffix(args),
        filters: TagFilters::or_all(args.filter.clone()),
        event_types: soci_push::EventTypes::default(),
        remove_results: false,
    }
}

fn options(args: &LocalArgs, rules: &PushRules, budget: Budget) -> Options {
    Options {
        settings: soci_manifest::SociIndexSettings {
            version: rules.version,
            min_layer_size: args.min_layer_size,
            span_size: args.span_size,
            generation: args.compatible_with,
            ..soci_manifest::SociIndexSettings::default()
        },
        platforms: match args.platform.as_slice() {
            [] => soci_manifest::Platforms::All,
            wanted => soci_manifest::Platforms::AnyOf(wanted.to_vec()),
        },
        output: soci_indexer::OutputTag::Suffix(rules.output_suffix.clone()),
        budget,
        ..Options::default()
    }
}

fn client(metrics: &Arc<Metrics>) -> Result<Client, String> {
    let client = Client::builder()
        .plain_http(true)
        .proxies(false)
        .user_agent(concat!("soci-index-builder/", env!("CARGO_PKG_VERSION")))
        .observer(metrics.clone())
        .build();
    client.map_err(|error| error_chain(&error))
}

/// Listens where it is wanted, or on the port of this machine that is usual.
async fn listen(flag: &str, wanted: Option<SocketAddr>, port: u16) -> Result<TcpListener, String> {
    let address = wanted.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into());
    TcpListener::bind(address).await.map_err(|error| {
        let host = address.ip();
        match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "{address} is taken by another program; choose another port with {flag}, as in \
                 {flag} {host}:0 for a free one"
            ),
            _ => format!("{flag} {address}: {error}"),
        }
    })
}

/// Says what to do next.
fn greet(running: &Running, args: &LocalArgs) {
    let (registry, page) = (running.registry, running.page);
    let appears = match args.index_version {
        Version::V1 => "is attached to it".to_owned(),
        Version::V2 => format!("appears as <tag>{}", suffix(args)),
    };
    say(&format!(
        "registry     http://{registry}\n\
         status page  http://{page}/\n\
         \n\
         Push an image, and its index {appears}:\n\
         \n  docker push {registry}/app:1\
         \n  skopeo copy --all docker://SOURCE docker://{registry}/app:1 --dest-tls-verify=false\n\
         \n\
         Ctrl-C stops.\n"
    ));
}
