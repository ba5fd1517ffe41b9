//! The Service Control Manager of Windows, for a process that it has started as `relight serve --as-service`.
//!
//! ```text
//! START_PENDING ──ready──> RUNNING ──stop, preshutdown──> STOP_PENDING ──> STOPPED
//! ```
//!
//! It has no watchdog. What ends without `STOPPED`, or with another code than 0, is started again: the service was installed so.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use relight_engine::{Error, Result};
use tokio::sync::Semaphore;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use super::State;

/// The name of a service that has its process to itself is not looked at.
const NAME: &str = "relight";
/// How long the manager waits for the next word while the service starts or stops.
const NEXT_WORD: Duration = Duration::from_secs(30);
/// How often it hears that the service is still stopping.
const STILL: Duration = Duration::from_secs(5);
/// How long the service may take to stop: as long as systemd gives it.
const STOPS: Duration = Duration::from_secs(90);

/// Does what the service does, and returns the code with which it ends.
type Work = Box<dyn FnOnce() -> u8 + Send>;

/// The work, until it is begun.
static WORK: Mutex<Option<Work>> = Mutex::new(None);
/// Who is told how the service stands, until it has stopped.
static MANAGER: Mutex<Option<ServiceStatusHandle>> = Mutex::new(None);
/// Whether the manager wants the service to stop.
static IS_ASKED: AtomicBool = AtomicBool::new(false);
/// One permit, once it does.
static ASKED: Semaphore = Semaphore::const_new(0);

define_windows_service!(service_main, serve);

/// Has the manager that started this process begin `work`, which returns its exit code, and returns when that has ended.
///
/// # Errors
/// `Invalid` when somebody else started it.
pub(crate) fn run(work: impl FnOnce() -> u8 + Send + 'static) -> Result<()> {
    *locked(&WORK) = Some(Box::new(work));
    service_dispatcher::start(NAME, service_main).map_err(|e| {
        Error::invalid("no service manager started this").because(e).hint("leave --as-service out")
    })
}

/// Returns when the manager wants the service to stop: once, however often it says so.
pub(crate) async fn asked_to_stop() {
    match ASKED.acquire().await {
        Ok(permit) => permit.forget(),
        Err(_) => std::future::pending().await,
    }
}

/// Tells the manager how the service stands.
pub(super) fn tell(state: State) {
    match state {
        State::Ready => say(ServiceState::Running, 0, ServiceExitCode::NO_ERROR),
        State::Alive => {}
        State::Stopping => drop(thread::spawn(stop)),
    }
}

/// The service, on a thread of the manager's.
fn serve(_: Vec<OsString>) {
    let Some(work) = locked(&WORK).take() else { return };
    // Nobody can be told that this failed; the process ends, and the manager sees that.
    let Ok(manager) = service_control_handler::register(NAME, handle_control) else { return };
    *locked(&MANAGER) = Some(manager);
    say(ServiceState::StartPending, 1, ServiceExitCode::NO_ERROR);
    let code = work();
    // What was asked to stop is not to be started again, whatever it left open: that is in the log.
    let code = match code {
        0 => ServiceExitCode::NO_ERROR,
        _ if IS_ASKED.load(Ordering::Acquire) => ServiceExitCode::NO_ERROR,
        code => ServiceExitCode::ServiceSpecific(code.into()),
    };
    say(ServiceState::Stopped, 0, code);
}

/// Takes a word of the manager. A plain function, with nothing to free: the library frees what it holds at the first word to stop, and more
/// words may follow.
fn handle_control(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Preshutdown => {
            if !IS_ASKED.swap(true, Ordering::AcqRel) {
                say(ServiceState::StopPending, 1, ServiceExitCode::NO_ERROR);
                ASKED.add_permits(1);
            }
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    }
}

/// Says that the service is stopping until it has stopped, or should have: then it is over, and its runs go on with the next one.
fn stop() {
    let began = Instant::now();
    let mut checkpoint = 1;
    while began.elapsed() < STOPS {
        checkpoint += 1;
        say(ServiceState::StopPending, checkpoint, ServiceExitCode::NO_ERROR);
        thread::sleep(STILL);
    }
    tracing::error!(
        "not everything could be put away in {} s; the next service goes on with it",
        STOPS.as_secs()
    );
    say(ServiceState::Stopped, 0, ServiceExitCode::NO_ERROR);
    // The manager has heard the code that counts.
    std::process::exit(1);
}

/// Tells the manager where the service is. After `Stopped` it hears no more.
fn say(state: ServiceState, checkpoint: u32, exit_code: ServiceExitCode) {
    let mut manager = locked(&MANAGER);
    let Some(told) = *manager else { return };
    let is_pending = matches!(state, ServiceState::StartPending | ServiceState::StopPending);
    let status = ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: match state {
            ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN,
            _ => ServiceControlAccept::empty(),
        },
        exit_code,
        checkpoint,
        wait_hint: if is_pending { NEXT_WORD } else { Duration::ZERO },
        process_id: None,
    };
    if let Err(error) = told.set_service_status(status) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
    if state == ServiceState::Stopped {
        *manager = None;
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
