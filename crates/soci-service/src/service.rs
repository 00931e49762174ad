//! All parts of a service put together: the consumer, those who watch it, and the site.

use std::future::Future;
use std::sync::Arc;

use soci_queue::Queue;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::About;
use crate::board::Board;
use crate::consumer::{self, ConsumerError, ConsumerSettings, Drained, Queues};
use crate::handler::Handler;
use crate::http::{self, Limits, Site};
use crate::metrics::Metrics;
use crate::protection::{EcsAgent, OpenJobs, ProtectionSettings, protect};
use crate::watch::Watch;

/// What a service is made of beside its queues and its handler.
#[derive(Debug)]
pub struct Service {
    /// Counters, which the registry's client tells as well.
    pub metrics: Arc<Metrics>,
    /// What the status page shows.
    pub board: Arc<Board>,
    /// Where the site is served.
    pub listener: TcpListener,
    /// How jobs are taken.
    pub settings: ConsumerSettings,
    /// The agent that protects the task while jobs run, if the process is a task of ECS.
    pub agent: Option<EcsAgent>,
}

impl Service {
    /// A service that has not begun, without an agent.
    pub fn new(listener: TcpListener, settings: ConsumerSettings) -> Self {
        let (metrics, board) = (Metrics::new(&About::THIS), Board::new(About::THIS));
        let (metrics, board) = (Arc::new(metrics), Arc::new(board));
        Self { metrics, board, listener, settings, agent: None }
    }

    /// Works off the queues until `shutdown` is done and the jobs are drained. The site answers to
    /// the end; the task is protected until then. `others` are told what happens as well.
    pub async fn run<Q: Queue, H: Handler>(
        self,
        queues: Queues<Q>,
        handler: H,
        others: Vec<Arc<dyn Watch>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Drained, ConsumerError> {
        let Self { metrics, board, listener, settings, agent } = self;
        let (open, jobs) = OpenJobs::new();
        let mut watch: Vec<Arc<dyn Watch>> = vec![metrics.clone(), board.clone(), Arc::new(open)];
        watch.extend(others);
        let site = http::router(Site { board, metrics, stuck_after: http::STUCK_AFTER });
        let (stop_site, site_stops) = oneshot::channel::<()>();
        let (release, released) = oneshot::channel::<()>();
        // A sender that is dropped is one that has sent: both end when this function does.
        let site = http::serve(listener, site, Limits::default(), async {
            let _ = site_stops.await;
        });
        let protecting = async {
            if let Some(agent) = agent {
                let ended = async {
                    let _ = released.await;
                };
                protect(agent, jobs, ProtectionSettings::default(), ended).await;
            }
        };
        let consuming = async {
            let drained = consumer::run(queues, handler, Arc::new(watch), settings, shutdown).await;
            drop((stop_site, release));
            drained
        };
        tokio::join!(consuming, site, protecting).0
    }
}
