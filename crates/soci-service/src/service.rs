//! All parts of a service put together: the consumer, the sinks of its events, and the site.

use std::future::Future;
use std::sync::Arc;

use soci_queue::Queue;
use soci_text::Runbook;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::About;
use crate::consumer::{self, ConsumerError, ConsumerSettings, Drained, Queues};
use crate::event::{EventSink, Events};
use crate::handler::Handler;
use crate::health_socket::HealthSocket;
use crate::http::{self, Site, SiteLimits};
use crate::job_log::JobLog;
use crate::metrics::Metrics;
use crate::protection::{EcsAgent, OpenJobs, ProtectionSettings, protect};
use crate::status_store::StatusStore;

/// What a service is made of beside its queues and its handler.
#[derive(Debug)]
pub struct Service {
    /// Counters, which the registry's client tells as well.
    pub metrics: Arc<Metrics>,
    /// What the status page shows.
    pub status_store: Arc<StatusStore>,
    /// Where the site is served.
    pub listener: TcpListener,
    /// Where health checks of the container are answered, apart from the site.
    pub health: Option<HealthSocket>,
    /// How jobs are taken.
    pub settings: ConsumerSettings,
    /// The agent that protects the task while jobs run, if the process is a task of ECS.
    pub agent: Option<EcsAgent>,
}

impl Service {
    /// A service that has not begun, without an agent and without a socket for health checks. Its page leads to
    /// `runbook`.
    pub fn new(listener: TcpListener, settings: ConsumerSettings, runbook: Runbook) -> Self {
        let status_store = Arc::new(StatusStore::new(About::THIS).with_runbook(runbook));
        let metrics = Arc::new(Metrics::new(&About::THIS, &status_store));
        Self { metrics, status_store, listener, health: None, settings, agent: None }
    }

    /// Works off the queues until `shutdown` is done and the jobs are drained. The site answers to
    /// the end; the task is protected until then. `others` are told what happens as well.
    pub async fn run<Q: Queue, H: Handler>(
        self,
        queues: Queues<Q>,
        handler: H,
        others: Vec<Arc<dyn EventSink>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Drained, ConsumerError> {
        let Self { metrics, status_store, listener, health, settings, agent } = self;
        let (open, jobs) = OpenJobs::new();
        let own: [Arc<dyn EventSink>; 4] =
            [Arc::new(JobLog), metrics.clone(), status_store.clone(), Arc::new(open)];
        let events = Events::to(own.into_iter().chain(others));
        let (stop_health, health_stops) = oneshot::channel::<()>();
        let checked = status_store.clone();
        let answering = async {
            if let Some(health) = health {
                let stops = async {
                    let _ = health_stops.await;
                };
                health.serve(checked, stops).await;
            }
        };
        let site = http::router(Site { status_store, metrics });
        let (stop_site, site_stops) = oneshot::channel::<()>();
        let (release, released) = oneshot::channel::<()>();
        // A sender that is dropped is one that has sent: all end when this function does.
        let site = http::serve(listener, site, SiteLimits::default(), async {
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
            let drained = consumer::run(queues, handler, events, settings, shutdown).await;
            drop((stop_site, stop_health, release));
            drained
        };
        tokio::join!(consuming, site, answering, protecting).0
    }
}
