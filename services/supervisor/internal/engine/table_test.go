package engine_test

import (
	"strings"
	"testing"
)

// flows are cases of control flow: a definition in short (see draw), what happens (see word), how the tasks and the job
// end.
var flows = []struct{ name, plan, script, tasks, job string }{
	// Edges: design 01 §5.
	{"one task", "a", "", "a:C", "COMPLETED"},
	{"a chain", "a c=b; b c=c; c", "", "a:C b:C c:C", "COMPLETED"},
	{"tasks without edges run side by side", "a; b; c", ">a >b >c !b !c !a", "a:C b:C c:C", "COMPLETED"},
	{"a diamond joins", "a c=b,c; b c=d; c c=d; d", "", "a:C b:C c:C d:C", "COMPLETED"},
	{"a join waits for all of its edges", "a c=c; b c=c; c", "!a stop", "a:C b:R c:B", "EXECUTING"},
	{"a join runs when one edge is taken", "a x:3=b c=c; b c=d; c c=d; d", "a=3", "a:F b:C c:S d:C", "COMPLETED"},
	{"a join is skipped when none is", "a c=c; b c=c; c; h; a2", "a=1 b=1", "a:F b:F c:S h:C a2:C", "FAILED ERR_TASK_EXECUTE"},
	{"dead paths go on", "a x:3=z c=b; b c=c; c c=d; d; z", "a=3", "a:F b:S c:S d:S z:C", "COMPLETED"},
	{"one key names several tasks", "a c=b,c,d; b; c; d", "", "a:C b:C c:C d:C", "COMPLETED"},
	{"a data edge waits", "a; b dep=a", "stop", "a:R b:B", "READY"},
	{"a data edge runs", "a; b dep=a", "", "a:C b:C", "COMPLETED"},
	{"data edges wait for all", "a; b; c dep=a,b", "!b stop", "a:R b:C c:B", "EXECUTING"},
	{"a failed dependency skips", "a f=h; b dep=a; h", "a=1", "a:F b:S h:C", "COMPLETED"},
	{"a failed dependency with allow_failure is usable", "a allow; b dep=a", "a=1", "a:F b:C", "COMPLETED"},
	{"a skipped dependency skips", "a off; b dep=a", "", "a:S b:S", "COMPLETED"},
	{"a skipped dependency beside a control edge only delays", "a x:3=b c=c; b; c c=d; d dep=b", "", "a:C b:S c:C d:C", "COMPLETED"},
	{"a failed dependency beside a control edge only delays", "a f=h; h; c c=d; d dep=a", "a=1", "a:F h:C c:C d:C", "COMPLETED"},
	{"a control edge that is not taken skips in spite of data", "a x:3=d c=e; b; d dep=b; e", "", "a:C b:C d:S e:C", "COMPLETED"},
	{"an edge of both kinds counts as both", "a c=b; b dep=a", "", "a:C b:C", "COMPLETED"},

	// Keys of on_exit_code: inventory 1.5, design 02 §3.
	{"exact code", "a x:3=b c=c; b; c", "a=3", "a:F b:C c:S", "COMPLETED"},
	{"exact code 0", "a x:0=b f=c; b; c", "", "a:C b:C c:S", "COMPLETED"},
	{"HTTP status", "a x:404=b c=c; b; c", "a=404", "a:F b:C c:S", "COMPLETED"},
	{"range", "a x:500-599=b f=c; b; c", "a=503", "a:F b:C c:S", "COMPLETED"},
	{"class of statuses", "a x:4xx=b f=c; b; c", "a=418", "a:F b:C c:S", "COMPLETED"},
	{"outside the range", "a x:500-599=b f=c; b; c", "a=404", "a:F b:S c:C", "COMPLETED"},
	{"exact code before range", "a x:4xx=c x:404=b f=d; b; c; d", "a=404", "a:F b:C c:S d:S", "COMPLETED"},
	{"range before state", "a x:1-9=b f=c; b; c", "a=1", "a:F b:C c:S", "COMPLETED"},
	{"COMPLETED", "a c=b f=c; b; c", "", "a:C b:C c:S", "COMPLETED"},
	{"FAILED", "a c=b f=c; b; c", "a=1", "a:F b:S c:C", "COMPLETED"},
	{"TIMED_OUT", "a t=b f=c; b; c", "a=timeout", "a:F b:C c:S", "COMPLETED"},
	{"TIMED_OUT falls back to FAILED", "a f=c; c", "a=timeout", "a:F c:C", "COMPLETED"},
	{"TIMED_OUT is not for failures", "a t=b f=c; b; c", "a=1", "a:F b:S c:C", "COMPLETED"},
	{"* on success", "a f=b x:*=c; b; c", "", "a:C b:S c:C", "COMPLETED"},
	{"* on failure", "a c=b x:*=c; b; c", "a=9", "a:F b:S c:C", "COMPLETED"},
	{"APPROVED", "m manual ok=b no=c; b; c", "m=yes", "m:C b:C c:S", "COMPLETED"},
	{"REJECTED", "m manual ok=b no=c; b; c", "m=no", "m:F b:S c:C", "COMPLETED"},

	{"a failure without a code has no code", "a x:0=b f=c once; b; c", "a=infra", "a:F b:S c:C", "COMPLETED"},
	{"* of an approval", "m manual x:*=c; c", "m=yes", "m:C c:C", "COMPLETED"},
	{"COMPLETED of an approval", "m manual c=b f=c; b; c", "m=yes", "m:C b:C c:S", "COMPLETED"},

	// Targets: inventory 1.5.
	{"COMPLETED counts a failure as success", "a x:4=COMPLETED c=b; b", "a=4", "a:C b:C", "COMPLETED"},
	{"COMPLETED of every failure", "a f=COMPLETED c=b; b", "a=4", "a:C b:C", "COMPLETED"},
	{"FAILED counts a success as failure", "a x:0=FAILED f=h c=b; b; h", "", "a:F b:S h:C", "COMPLETED"},
	{"FAILED without a handler", "a x:0=FAILED", "", "a:F", "FAILED ERR_TASK_EXECUTE"},
	{"FATAL", "a x:9=FATAL; b", "a=9", "a:F b:C", "FAILED ERR_FATAL"},
	{"FATAL in spite of allow_failure", "a allow f=FATAL", "a=1", "a:F", "FAILED ERR_FATAL"},
	{"FATAL on success", "a c=FATAL", "", "a:F", "FAILED ERR_FATAL"},
	{"FATAL of a lost attempt", "a f=FATAL infra=0", "a=lost", "a:F", "FAILED ERR_FATAL"},
	{"RESTART_JOB", "a x:8=RESTART_JOB", "a=8", "a:F", "FAILED ERR_RESTART_JOB restart"},
	{"RESTART_TASK", "a x:5=RESTART_TASK c=b; b", "a=5,5,0", "a:C b:C", "COMPLETED"},
	{"RESTART_TASK costs no retry", "a retry=1 x:5=RESTART_TASK", "a=5,1,5,0", "a:C", "COMPLETED"},
	{"PAUSE_JOB", "a x:7=PAUSE_JOB c=b; b", "a=7,0", "a:W b:B", "PAUSED"},
	{"PAUSE_JOB lets what runs end", "a x:7=PAUSE_JOB; b", ">a >b a=7,0 !a stop", "a:W b:R", "EXECUTING"},
	{"PAUSE_JOB and resume", "a x:7=PAUSE_JOB c=b; b", "a=7,0 . resume", "a:C b:C", "COMPLETED"},
	{"WAIT_FOR_APPROVAL holds a success", "a c=WAIT_FOR_APPROVAL; b", "", "a:W b:C", "MANUAL_APPROVAL_REQUIRED"},
	{"WAIT_FOR_APPROVAL approved", "a x:0=WAIT_FOR_APPROVAL c=b; b", "a=0,yes", "a:C b:C", "COMPLETED"},
	{"WAIT_FOR_APPROVAL of a failure, approved", "a x:3=WAIT_FOR_APPROVAL c=b f=h; b; h", "a=3,yes", "a:C b:C h:S", "COMPLETED"},
	{"WAIT_FOR_APPROVAL rejected", "a x:3=WAIT_FOR_APPROVAL c=b f=h; b; h", "a=3,no", "a:F b:S h:C", "COMPLETED"},
	{"WAIT_FOR_APPROVAL rejected without handler", "a c=WAIT_FOR_APPROVAL", "a=0,no", "a:F", "FAILED ERR_MANUAL_REJECTION"},
	{"WAIT_FOR_APPROVAL with APPROVED", "a c=WAIT_FOR_APPROVAL ok=b; b", "a=0,yes", "a:C b:C", "COMPLETED"},
	{"EXECUTING polls", "a x:404=EXECUTING c=b; b", "a=404,404,404,0", "a:C b:C", "COMPLETED"},
	{"EXECUTING polls on success", "a x:202=EXECUTING c=b; b", "a=202,0", "a:C b:C", "COMPLETED"},
	{"EXECUTING ends with the task's timeout", "a x:404=EXECUTING delay=10s", "a=404", "a:F", "FAILED ERR_TASK_TIMED_OUT"},
	{"EXECUTING ends in TIMED_OUT", "a x:404=EXECUTING delay=10s t=b; b", "a=404", "a:F b:C", "COMPLETED"},
	{"ERR_ names the code", "a x:9=ERR_QUOTA", "a=9", "a:F", "FAILED ERR_QUOTA"},
	{"ERR_ on every failure", "a f=ERR_BROKEN; b dep=a", "a=1", "a:F b:S", "FAILED ERR_BROKEN"},
	{"ERR_ in spite of allow_failure", "a allow x:9=ERR_QUOTA", "a=9", "a:F", "FAILED ERR_QUOTA"},

	// Failures of tasks and jobs.
	{"an unhandled failure fails the job", "a c=b; b c=c; c", "a=1", "a:F b:S c:S", "FAILED ERR_TASK_EXECUTE"},
	{"on_failed handles it", "a c=b f=fix; b; fix", "a=1", "a:F b:S fix:C", "COMPLETED"},
	{"the handler can fail", "a f=fix; fix", "a=1 fix=1", "a:F fix:F", "FAILED ERR_TASK_EXECUTE"},
	{"allow_failure follows on_completed", "a allow c=b; b", "a=1", "a:F b:C", "COMPLETED"},
	{"on_failed wins over allow_failure", "a allow c=b f=h; b; h", "a=1", "a:F b:S h:C", "COMPLETED"},
	{"what runs finishes in a failing job", "a; b c=c; c", ">a >b a=1 !a", "a:F b:C c:S", "FAILED ERR_TASK_EXECUTE"},
	{"what has not started is skipped", "a; b", ">a a=1 !a", "a:F b:S", "FAILED ERR_TASK_EXECUTE"},
	{"handlers start in a failing job", "a; b f=h; h c=i; i", ">a >b a=1 b=1 !a", "a:F b:F h:C i:C", "FAILED ERR_TASK_EXECUTE"},
	{"what retries is not tried again in a failing job", "a; b retry=3 delay=1s", ">a >b a=1 b=1 !b !a", "a:F b:X", "FAILED ERR_TASK_EXECUTE"},
	{"the first failure names the job's error", "a x:9=ERR_A; b x:9=ERR_B", ">a >b a=9 b=9 !b !a", "a:F b:F", "FAILED ERR_B"},
	{"a handler of one of several", "a f=h; b c=h; z; h", ">a >b >z a=1 z=1 !a !z !b", "a:F b:C z:F h:C", "FAILED ERR_TASK_EXECUTE"},
	{"fail_fast stops what runs", "job ff; a; b; c", ">a >b ~c a=1 !a !b", "a:F b:X c:X", "FAILED ERR_TASK_EXECUTE"},
	{"fail_fast spares handlers", "job ff; a; b f=h; h", ">b b=1 !b >h >a a=1 !a !h", "a:F b:F h:C", "FAILED ERR_TASK_EXECUTE"},

	{"fail_fast spares clean-up", "job ff; a; k always dep=a; b", "!a >k >b b=1 !b stop", "a:C k:R b:F", "EXECUTING ERR_TASK_EXECUTE"},

	// always_run.
	{"always_run comes last", "clean always; a c=b; b", "", "clean:C a:C b:C", "COMPLETED"},
	{"always_run after a failure", "a c=b; b; clean always", "a=1", "a:F b:S clean:C", "FAILED ERR_TASK_EXECUTE"},
	{"always_run with an edge runs when it is resolved", "a c=clean; clean always c=z; z", "a=1", "a:F clean:C z:S", "FAILED ERR_TASK_EXECUTE"},
	{"always_run with a dependency that failed", "a f=h; h; clean always dep=a", "a=1", "a:F h:C clean:C", "COMPLETED"},
	{"always_run after a cancel", "a; clean always", ">a cancel !a", "a:X clean:C", "CANCELLED"},
	{"always_run after the timeout", "a; clean always", ">a deadline !a", "a:X clean:C", "FAILED ERR_JOB_TIMEOUT"},
	{"always_run whose failure fails the job", "a; clean always", "clean=1", "a:C clean:F", "FAILED ERR_TASK_EXECUTE"},
	{"always_run with allow_failure", "a; clean always allow", "clean=1", "a:C clean:F", "COMPLETED"},
	{"a chain of always_run", "a; k always c=l; l always", "a=1", "a:F k:C l:C", "FAILED ERR_TASK_EXECUTE"},
	{"only clean-up", "clean always", "", "clean:C", "COMPLETED"},
	{"no clean-up of what never started", "a; clean always", "cancel", "a:X clean:X", "CANCELLED"},
	{"the clean-up ends with its own time", "a; clean always", ">a deadline !a >clean deadline !clean", "a:X clean:X", "FAILED ERR_JOB_TIMEOUT"},
	{"clean-up retries in a failing job", "a; clean always retry=2 delay=1s", "a=1 clean=1,1,0", "a:F clean:C", "FAILED ERR_TASK_EXECUTE"},

	// Conditions.
	{"except completes", "a skip c=b; b", "", "a:C b:C", "COMPLETED"},
	{"except that is known late", "a c=b; b except c=c; c", "", "a:C b:C c:C", "COMPLETED"},
	{"when does not hold", "a off c=b f=h; b; h", "", "a:S b:S h:S", "COMPLETED"},
	{"when does not hold beside another path", "a off c=c; b c=c; c", "", "a:S b:C c:C", "COMPLETED"},
	{"a condition that cannot be decided", "a c=b; b fault", "", "a:C b:F", "FAILED ERR_TASK_EXECUTE"},
	{"a faulty condition is handled", "b fault f=h; h", "", "b:F h:C", "COMPLETED"},
	{"a faulty condition is not tried again", "b fault retry=3", "", "b:F", "FAILED ERR_TASK_EXECUTE"},
	{"a faulty condition is not restarted", "b fault f=RESTART_TASK", "", "b:F", "FAILED ERR_TASK_EXECUTE"},
	{"a faulty condition may fail", "b fault allow c=c; c", "", "b:F c:C", "COMPLETED"},
	{"no condition is asked on a dead path", "a x:3=b c=c; b fault; c", "", "a:C b:S c:C", "COMPLETED"},
	{"no condition is asked in a failing job", "a; z c=b; b fault", ">a >z a=1 !a !z", "a:F z:C b:S", "FAILED ERR_TASK_EXECUTE"},
	{"a paused job asks after the resume", "a c=b; b off", ">a pause !a . resume", "a:C b:S", "COMPLETED"},
	{"always_run with when", "a; k always off", "", "a:C k:S", "COMPLETED"},

	// Retries and budgets: inventory 1.6, design 02 §4.
	{"retry then success", "a retry=2 c=b; b", "a=1,1,0", "a:C b:C", "COMPLETED"},
	{"retry used up", "a retry=2", "a=1,1,1,0", "a:F", "FAILED ERR_TASK_EXECUTE"},
	{"retry with a delay", "a retry=1 delay=5s", "a=1,0", "a:C", "COMPLETED"},
	{"a code route wins over retry", "a retry=5 x:3=b; b", "a=3,0", "a:F b:C", "COMPLETED"},
	{"retry wins over a state route", "a retry=1 f=b; b", "a=1,0", "a:C b:S", "COMPLETED"},
	{"the state route when no retry is left", "a retry=1 f=b; b", "a=1,1", "a:F b:C", "COMPLETED"},
	{"a timeout uses up retry", "a retry=1", "a=timeout,0", "a:C", "COMPLETED"},
	{"oom uses up retry", "a retry=1", "a=oom,0", "a:C", "COMPLETED"},
	{"a refusal is never tried again", "a retry=3", "a=rejected,0", "a:F", "FAILED ERR_TASK_EXECUTE"},
	{"retry_on a code", "a retry=3 on=75", "a=75,75,0", "a:C", "COMPLETED"},
	{"retry_on another code", "a retry=3 on=75", "a=1,0", "a:F", "FAILED ERR_TASK_EXECUTE"},
	{"retry_on a range", "a retry=3 on=500-599", "a=503,0", "a:C", "COMPLETED"},
	{"retry_on without timeouts", "a retry=3 on=75", "a=timeout,0", "a:F", "FAILED ERR_TASK_TIMED_OUT"},
	{"an own budget for timeouts", "a timeouts=2", "a=timeout,timeout,0", "a:C", "COMPLETED"},
	{"an own budget for timeouts used up", "a timeouts=1 retry=5", "a=timeout,timeout,0", "a:F", "FAILED ERR_TASK_TIMED_OUT"},
	{"an own budget for oom", "a oom=1 timeouts=1", "a=oom,timeout,0", "a:C", "COMPLETED"},
	{"own budgets are apart", "a oom=1 timeouts=1", "a=oom,timeout,oom,0", "a:F", "FAILED ERR_TASK_EXECUTE"},
	{"three lost attempts are replaced", "a", "a=lost,lost,lost,0", "a:C", "COMPLETED"},
	{"the fourth is not", "a", "a=lost,lost,lost,lost,0", "a:F", "FAILED ERR_TASK_EXECUTE"},
	{"an own budget for lost attempts", "a infra=1", "a=lost,lost,0", "a:F", "FAILED ERR_TASK_EXECUTE"},
	{"what never started costs nothing", "a infra=0", "a=unclaimed,unclaimed,unclaimed,unclaimed,0", "a:C", "COMPLETED"},
	{"lost at most once", "a once c=b f=h; b; h", "a=lost", "a:F b:S h:C", "COMPLETED"},
	{"unclaimed at most once", "a once", "a=unclaimed,0", "a:C", "COMPLETED"},
	{"infra failures at most once", "a once", "a=infra,0", "a:F", "FAILED ERR_TASK_EXECUTE"},
	{"a task that waits too long", "a f=b; b", "#a", "a:F b:C", "COMPLETED"},
	{"a retry that waits too long", "a retry=1 delay=1h", "a=1 !a #a", "a:F", "FAILED ERR_TASK_TIMED_OUT"},
	{"a required output is there", "a out=made c=b; b", "", "a:C b:C", "COMPLETED"},
	{"a required output is missing", "a out=other c=b; b", "", "a:F b:S", "FAILED ERR_TASK_EXECUTE"},
	{"a missing output is tried again", "a out=other retry=1 f=h; h", "", "a:F h:C", "COMPLETED"},
	{"a missing output is allowed to be", "a out=other allow c=b; b", "", "a:F b:C", "COMPLETED"},
	{"a missing output counted as success", "a out=other f=COMPLETED", "", "a:F", "FAILED ERR_TASK_EXECUTE"},

	// Error rules: inventory 1.16.
	{"a rule names the code", "job rule=3:ERR_DISK; a", "a=3", "a:F", "FAILED ERR_DISK"},
	{"a rule for another code", "job rule=3:ERR_DISK; a", "a=4", "a:F", "FAILED ERR_TASK_EXECUTE"},
	{"RETRY_TASK", "job rule=3:ERR_NET:RETRY_TASK:2; a", "a=3,3,0", "a:C", "COMPLETED"},
	{"RETRY_TASK used up", "job rule=3:ERR_NET:RETRY_TASK:2; a", "a=3,3,3,0", "a:F", "FAILED ERR_NET"},
	{"RETRY_TASK at least once", "job rule=3:ERR_NET:RETRY_TASK; a", "a=3,0", "a:C", "COMPLETED"},
	{"RETRY_TASK with the task's retry", "job rule=3:ERR_NET:RETRY_TASK; a retry=2", "a=3,3,0", "a:C", "COMPLETED"},
	{"RETRY_TASK bounds the task's retry", "job rule=3:ERR_NET:RETRY_TASK:1; a retry=5", "a=3,3,0", "a:F", "FAILED ERR_NET"},
	{"RETRY_TASK then the state route", "job rule=3:ERR_NET:RETRY_TASK; a f=h; h", "a=3,3", "a:F h:C", "COMPLETED"},
	{"a code route wins over a rule", "job rule=3:ERR_NET:HARD_FAILURE; a x:3=h; h", "a=3", "a:F h:C", "COMPLETED"},
	{"RETRY_JOB", "job rule=3:ERR_NET:RETRY_JOB; a", "a=3", "a:F", "FAILED ERR_NET restart"},
	{"RETRY_JOB used up", "job rule=3:ERR_NET:RETRY_JOB:2 retries=2; a", "a=3", "a:F", "FAILED ERR_NET"},
	{"RETRY_JOB bounds the job's retry", "job retry=9 rule=3:ERR_NET:RETRY_JOB:1 retries=1; a", "a=3", "a:F", "FAILED ERR_NET"},
	{"RETRY_JOB wins over on_failed", "job rule=3:ERR_NET:RETRY_JOB; a f=h; h", "a=3", "a:F h:S", "FAILED ERR_NET restart"},
	{"HARD_FAILURE", "job retry=5 rule=3:ERR_BAD:HARD_FAILURE; a retry=5", "a=3", "a:F", "FAILED ERR_BAD"},
	{"HARD_FAILURE in spite of allow_failure", "job rule=3:ERR_BAD:HARD_FAILURE; a allow", "a=3", "a:F", "FAILED ERR_BAD"},
	{"SUSPEND_JOB", "job rule=3:ERR_STOP:SUSPEND_JOB; a; b", ">a a=3,0 !a", "a:W b:W", "PAUSED"},
	{"SUSPEND_JOB and resume", "job rule=3:ERR_STOP:SUSPEND_JOB; a c=b; b", "a=3,0 . resume", "a:C b:C", "COMPLETED"},
	{"SUSPEND_JOB holds what starts in the same moment", "job rule=*:ERR_STOP:SUSPEND_JOB; a fault; g items=2", "", "a:W g:W", "PAUSED"},
	{"SUSPEND_JOB does not keep clean-up waiting", "job rule=3:ERR_STOP:SUSPEND_JOB; a; k always", ">a cancel !a k=3", "a:X k:F", "CANCELLED"},
	{"a rule without action leaves retry", "job rule=3:ERR_DISK; a retry=1", "a=3,0", "a:C", "COMPLETED"},
	{"a rule without action leaves on_failed", "job rule=3:ERR_DISK; a f=h; h", "a=3", "a:F h:C", "COMPLETED"},
	{"a rule for any code sees timeouts", "job rule=*:ERR_SLOW; a", "a=timeout", "a:F", "FAILED ERR_SLOW"},

	// Retries and restarts of the job: inventory 1.5, 1.6.
	{"the job is tried again", "job retry=1; a", "a=1", "a:F", "FAILED ERR_TASK_EXECUTE restart"},
	{"the job's retries are used up", "job retry=1 retries=1; a", "a=1", "a:F", "FAILED ERR_TASK_EXECUTE"},
	{"FATAL takes the job's retries", "job retry=5; a f=FATAL", "a=1", "a:F", "FAILED ERR_FATAL"},
	{"a cancelled job is not tried again", "job retry=5; a", ">a cancel !a", "a:X", "CANCELLED"},
	{"hard reset after retries", "job retry=5 hard=1 retries=1; a", "a=1", "a:F", "FAILED ERR_TASK_EXECUTE restart hard"},
	{"no hard reset yet", "job retry=5 hard=1; a", "a=1", "a:F", "FAILED ERR_TASK_EXECUTE restart"},
	{"RESTART_JOB with a hard reset", "job hard=2 retries=2; a f=RESTART_JOB", "a=1", "a:F", "FAILED ERR_RESTART_JOB restart hard"},
	{"no retry after the end of all time", "job retry=5 total=1m timeout=2h; a", ">a deadline !a", "a:X", "FAILED ERR_JOB_TIMEOUT"},
	{"what completed is kept", "job reuse=a retries=1; a c=b; b", "ran=b", "a:C b:C", "COMPLETED"},
	{"what follows a task that runs, runs", "job reuse=a,c; a c=b; b c=c; c", "ran=b,c", "a:C b:C c:C", "COMPLETED"},
	{"from a named task", "job reuse=a,b,c from=b; a c=b; b c=c; c", "ran=b,c", "a:C b:C c:C", "COMPLETED"},
	{"from a named task beside others", "job reuse=a,b,c,d from=b; a c=b,d; b c=c; c; d", "ran=b,c", "a:C b:C c:C d:C", "COMPLETED"},
	{"allow_start_if_completed", "job reuse=a,b; a again; b", "ran=a", "a:C b:C", "COMPLETED"},
	{"dependants of one that starts again", "job reuse=a,b; a again; b dep=a", "ran=a,b", "a:C b:C", "COMPLETED"},
	{"always_run is never kept", "job reuse=a,k; a; k always", "ran=k", "a:C k:C", "COMPLETED"},
	{"all kept ends at once", "job reuse=a,b; a c=b; b", "stop", "a:C b:C", "COMPLETED"},
	{"what is kept decides no condition again", "job reuse=a; a fault", "", "a:C", "COMPLETED"},
	{"a fork is kept", "job reuse=f; f fork c=b; b", "ran=b", "f:C b:C", "COMPLETED"},
	{"a fork that is awaited again is not", "job reuse=f; f fork=nowait c=w; w await=f", "", "f:C w:C", "COMPLETED"},
	{"a fan-out is kept whole", "job reuse=g; g items=3 c=b; b", "ran=b", "g:C b:C", "COMPLETED"},

	// Cancel, timeout, pause.
	{"cancel stops everything but clean-up", "a c=b; b; c; d; k always", ">a ~c cancel !a", "a:X b:X c:X d:X k:C", "CANCELLED"},
	{"a cancelled task that ends well", "a c=b; b", ">a cancel a=0 !a", "a:C b:X", "CANCELLED"},
	{"a cancelled task that fails", "a retry=3", ">a cancel a=1 !a", "a:F", "CANCELLED"},
	{"a delay is cancelled", "a retry=1 delay=1h", "a=1 !a cancel", "a:X", "CANCELLED"},
	{"the timeout of the job", "job timeout=1m; a c=b; b", ">a deadline !a", "a:X b:S", "FAILED ERR_JOB_TIMEOUT"},
	{"a timeout is tried again", "job retry=1; a", ">a deadline !a", "a:X", "FAILED ERR_JOB_TIMEOUT restart"},
	{"cancel of a paused job", "a; k always", ">a pause !a cancel", "a:C k:C", "CANCELLED"},
	{"pause before the start", "a", "pause", "a:W", "PAUSED"},
	{"pause lets what runs end", "a c=b; b; c", ">a pause !a", "a:C b:W c:W", "PAUSED"},
	{"pause and resume", "a c=b; b; c", ">a pause !a . resume", "a:C b:C c:C", "COMPLETED"},
	{"resume before the pause is reached", "a c=b; b", ">a pause resume", "a:C b:C", "COMPLETED"},
	{"a delay goes on after a resume", "a retry=1 delay=1h", "a=1,0 !a pause @a . resume", "a:C", "COMPLETED"},
	{"pause while the last task runs", "a", ">a pause", "a:C", "COMPLETED"},
	{"a paused job holds its clean-up", "a; k always", ">a pause a=1 !a", "a:F k:W", "PAUSED ERR_TASK_EXECUTE"},
	{"cancel twice", "a", ">a cancel cancel !a", "a:X", "CANCELLED"},

	// Approvals: inventory 1.10.
	{"a waiting approval does not run", "m manual; a", "", "m:W a:C", "MANUAL_APPROVAL_REQUIRED"},
	{"what is active keeps the job executing", "m manual; a", ">a stop", "m:W a:R", "EXECUTING"},
	{"a delay keeps the job executing", "m manual; a retry=1 delay=1h", "a=1 !a stop", "m:W a:W", "EXECUTING"},
	{"approved", "m manual c=b; b", "m=yes", "m:C b:C", "COMPLETED"},
	{"approved while others run takes effect at once", "m manual c=b; b; a", ">a m=yes !m stop", "m:C b:R a:R", "EXECUTING"},
	{"approved when nothing runs goes by way of a pause", "m manual c=b; b", "m=yes !m stop", "m:C b:W", "PAUSED now"},
	{"approved and nothing follows ends at once", "m manual", "m=yes !m stop", "m:C", "COMPLETED"},
	{"one of two approved", "m manual; n manual", "m=yes !m stop", "m:C n:W", "MANUAL_APPROVAL_REQUIRED"},
	{"both approved", "m manual c=b; n manual c=b; b", "m=yes n=yes", "m:C n:C b:C", "COMPLETED"},
	{"rejected", "m manual c=b; b", "m=no", "m:F b:S", "FAILED ERR_MANUAL_REJECTION"},
	{"rejected and the clean-up goes by way of a pause", "m manual; k always", "m=no !m stop", "m:F k:W", "PAUSED ERR_MANUAL_REJECTION now"},
	{"rejected with clean-up", "m manual; k always", "m=no", "m:F k:C", "FAILED ERR_MANUAL_REJECTION"},
	{"rejected takes on_failed", "m manual f=h c=b; b; h", "m=no", "m:F b:S h:C", "COMPLETED"},
	{"rejected with allow_failure", "m manual allow c=b; b", "m=no", "m:F b:C", "COMPLETED"},
	{"rejected is not tried again", "m manual retry=3", "m=no,yes", "m:F", "FAILED ERR_MANUAL_REJECTION"},
	{"rejected asks again", "m manual no=RESTART_TASK", "m=no,yes", "m:C", "COMPLETED"},
	{"rejected with an action", "m manual no=ERR_NOT_NOW", "m=no", "m:F", "FAILED ERR_NOT_NOW"},
	{"rejected withdraws the others", "m manual; n manual", "m=no", "m:F n:X", "FAILED ERR_MANUAL_REJECTION"},
	{"approved with an action", "m manual ok=RESTART_JOB", "m=yes", "m:F", "FAILED ERR_RESTART_JOB restart"},
	{"nobody decides: approve", "m manual sla=approve c=b; b", ". @m", "m:C b:C", "COMPLETED"},
	{"nobody decides: reject", "m manual sla=reject c=b; b", ". @m", "m:F b:S", "FAILED ERR_MANUAL_REJECTION"},
	{"nobody decides: escalate", "m manual sla=escalate", ". @m", "m:W", "MANUAL_APPROVAL_REQUIRED"},
	{"decided after an escalation", "m manual sla=escalate", "m=wait,yes . @m", "m:C", "COMPLETED"},
	{"cancel withdraws approvals", "m manual; k always", ". cancel", "m:X k:C", "CANCELLED"},
	{"pause beside approvals", "m manual", ". pause", "m:W", "PAUSED"},
	{"a vote in a paused job", "m manual c=b; b", "pause m=yes !m stop", "m:C b:W", "PAUSED"},
	{"a vote ends a paused job", "m manual", ". pause m=yes !m stop", "m:C", "COMPLETED"},
	{"resume beside approvals", "m manual", ". pause resume", "m:W", "MANUAL_APPROVAL_REQUIRED"},
	{"an approval too late", "m manual f=h; h", ". #m", "m:F h:C", "COMPLETED"},
	{"a failing job withdraws approvals", "m manual; a", ">a a=1 !a", "m:X a:F", "FAILED ERR_TASK_EXECUTE"},
	{"when of an approval", "m manual off c=b; b", "", "m:S b:S", "COMPLETED"},
	{"except of an approval", "m manual except c=b; b", "", "m:C b:C", "COMPLETED"},
	{"approval in the clean-up", "a; m manual always", "m=yes", "a:C m:C", "COMPLETED"},

	// Forks and joins: inventory 1.7.
	{"a fork goes on once submitted", "f fork=nowait c=b; b", "", "f:C b:C", "COMPLETED"},
	{"a fork does not care how its child ends", "f fork=nowait c=b; b", "f=FAILED", "f:C b:C", "COMPLETED"},
	{"a fork that is refused", "f fork=nowait f=h; h", "f=refused", "f:F h:C", "COMPLETED"},
	{"a refused fork fails the job", "f fork retry=3", "f=refused,COMPLETED", "f:F", "FAILED ERR_TASK_EXECUTE"},
	{"a waiting fork", "f fork", "f=never", "f:W", "EXECUTING"},
	{"a waiting fork completes", "f fork c=b; b", "", "f:C b:C", "COMPLETED"},
	{"a waiting fork fails", "f fork c=b; b", "f=FAILED", "f:F b:S", "FAILED ERR_TASK_EXECUTE"},
	{"a cancelled child fails its fork", "f fork f=h; h", "f=CANCELLED", "f:F h:C", "COMPLETED"},
	{"a fork ends with the code of its child", "f fork x:42=b c=c; b; c", "f=42", "f:F b:C c:S", "COMPLETED"},
	{"a fork with another code of its child", "f fork x:42=b; b", "f=41", "f:F b:S", "FAILED ERR_CHILD"},
	{"a code of a child that is an action", "f fork x:42=COMPLETED c=b; b", "f=42", "f:C b:C", "COMPLETED"},
	{"a child that took too long", "f fork t=b; b", "f=late", "f:F b:C", "COMPLETED"},
	{"a child that took too long and nobody cares", "f fork", "f=late", "f:F", "FAILED ERR_JOB_TIMEOUT"},
	{"a join ends with the code of the first child that failed", "f fork=nowait c=g; g fork=nowait c=w; w await=f,g x:7=b; b", "f=7 g=8", "f:C g:C w:F b:C", "COMPLETED"},
	{"a fork is tried again", "f fork retry=1", "f=FAILED,COMPLETED", "f:C", "COMPLETED"},
	{"a fork is tried again after a delay", "f fork retry=1 delay=1m", "f=FAILED,COMPLETED", "f:C", "COMPLETED"},
	{"a declared output of a fork", "f fork out=mapped", "", "f:C", "COMPLETED"},
	{"a missing output of a fork", "f fork out=other", "", "f:F", "FAILED ERR_TASK_EXECUTE"},
	{"cancel ends a waiting fork at once", "f fork; k always", "f=never . cancel", "f:X k:C", "CANCELLED"},
	{"fail_fast ends a waiting fork", "job ff; f fork; a", "f=never >a a=1 !a", "f:X a:F", "FAILED ERR_TASK_EXECUTE"},
	{"a waiting fork goes on in a failing job", "f fork; a", "f=never a=1 .  stop", "f:W a:F", "EXECUTING ERR_TASK_EXECUTE"},
	{"a fork too late", "f fork", "f=never . #f", "f:F", "FAILED ERR_TASK_TIMED_OUT"},
	{"a fork too late is tried again", "f fork retry=1", "f=never,COMPLETED . #f", "f:C", "COMPLETED"},
	{"a fork too late twice", "f fork retry=1 t=h; h", "f=never . #f . #f", "f:F h:C", "COMPLETED"},
	{"a join too late", "f fork=nowait c=w; w await=f t=h; h", "f=open . #w", "f:C w:F h:C", "COMPLETED"},
	{"a join too late is tried again", "f fork=nowait c=w; w await=f retry=1", "f=open,COMPLETED . #w $f", "f:C w:C", "COMPLETED"},
	{"an approval too late is not asked for again", "m manual retry=1 t=h; h", ". #m", "m:F h:C", "COMPLETED"},
	{"a chore too late", "e chore", "e=never . #e", "e:F", "FAILED ERR_TASK_TIMED_OUT"},
	{"a job of a fan-out too late", "g items=2 jobs", "g[0]=never . #g[0]", "g:F[FC]", "FAILED ERR_TASK_TIMED_OUT"},
	{"a paused job hears of children", "f fork c=b; b", "f=never,COMPLETED . pause !f", "f:C b:W", "PAUSED"},
	{"a child ends a paused job", "f fork", "f=never,COMPLETED . pause !f", "f:C", "COMPLETED"},
	{"a child fails a paused job", "f fork; k always", "f=never,FAILED . pause !f", "f:F k:W", "PAUSED ERR_TASK_EXECUTE"},
	{"a failed child and its clean-up after the resume", "f fork; k always", "f=never,FAILED . pause !f resume", "f:F k:C", "FAILED ERR_TASK_EXECUTE"},
	{"a fork beside an approval", "f fork; m manual", "f=never", "f:W m:W", "EXECUTING"},
	{"a join", "f fork=nowait c=w; w await=f c=b; b", "", "f:C w:C b:C", "COMPLETED"},
	{"a join waits", "f fork=nowait c=w; w await=f c=b; b", "f=open", "f:C w:W b:B", "EXECUTING"},
	{"a join hears of the last child", "f fork=nowait c=w; w await=f c=b; b", "f=open,COMPLETED . $f", "f:C w:C b:C", "COMPLETED"},
	{"a join hears of a failure", "f fork=nowait c=w; w await=f c=b; b", "f=open,FAILED . $f", "f:C w:F b:S", "FAILED ERR_TASK_EXECUTE"},
	{"a cancelled join", "f fork=nowait c=w; w await=f", "f=open . cancel", "f:C w:X", "CANCELLED"},
	{"a join of two", "f fork=nowait c=w; g fork=nowait c=w; w await=f,g", "f=open,COMPLETED . $f", "f:C g:C w:C", "COMPLETED"},
	{"a join of a waiting fork", "f fork c=w; w await=f", "", "f:C w:C", "COMPLETED"},
	{"a join of none", "f fork=nowait off c=g; g; w await=f", "", "f:S g:S w:C", "COMPLETED"},
	{"a join of a failure", "f fork=nowait c=w; w await=f f=h; h", "f=FAILED", "f:C w:F h:C", "COMPLETED"},
	{"fork, await, approve", "f fork=nowait c=w; w await=f c=m; m manual", "m=yes", "f:C w:C m:C", "COMPLETED"},
	{"a chore", "e chore c=b; b", "", "e:C b:C", "COMPLETED"},
	{"a chore that fails", "e chore", "e=FAILED", "e:F", "FAILED ERR_TASK_EXECUTE"},
	{"a chore is cancelled", "e chore", "e=never . cancel", "e:X", "CANCELLED"},

	// Fan-outs: inventory 1.8, design 02 §4.
	{"items run", "g items=3 c=b; b", "", "g:C[CCC] b:C", "COMPLETED"},
	{"no items", "g items=0 c=b; b", "", "g:C[] b:C", "COMPLETED"},
	{"all items run at once", "g items=3", "stop", "g:W[RRR]", "READY"},
	{"max_parallel", "g items=4 max=2", "stop", "g:W[RRBB]", "READY"},
	{"one that ends releases the next", "g items=4 max=2", "!g[1] stop", "g:W[RCRB]", "EXECUTING"},
	{"a retry holds its place", "g items=4 max=2 retry=1 delay=1h", "g[0]=1,0 !g[0] stop", "g:W[WRBB]", "EXECUTING"},
	{"one by one", "g items=4 max=1", "", "g:C[CCCC]", "COMPLETED"},
	{"items are tried again", "g items=2 retry=1", "g[1]=1,0", "g:C[CC]", "COMPLETED"},
	{"lost items are replaced", "g items=2", "g[1]=lost,0", "g:C[CC]", "COMPLETED"},
	{"an item fails the group", "g items=3 c=b; b", "g[1]=1", "g:F[CFC] b:S", "FAILED ERR_TASK_EXECUTE"},
	{"the other items go on", "g items=3 max=1", "g[0]=1", "g:F[FCC]", "FAILED ERR_TASK_EXECUTE"},
	{"on_failed of a group", "g items=3 f=h; h", "g[1]=1", "g:F[CFC] h:C", "COMPLETED"},
	{"allow_failure of a group", "g items=3 allow c=b; b", "g[1]=1", "g:F[CFC] b:C", "COMPLETED"},
	{"a group takes the route of its first failure's code", "g items=3 x:3=h f=z; h; z", "g[1]=3 g[2]=4", "g:F[CFF] h:C z:S", "COMPLETED"},
	{"min_success", "g items=4 min=3 c=b; b", "g[1]=1", "g:C[CFCC] b:C", "COMPLETED"},
	{"min_success missed", "g items=4 min=3", "g[1]=1 g[2]=1", "g:F[CFFC]", "FAILED ERR_TASK_EXECUTE"},
	{"min_success in percent", "g items=4 pct=50", "g[1]=1 g[2]=1", "g:C[CFFC]", "COMPLETED"},
	{"fail_fast of a fan-out", "g items=4 max=2 ff", ">g[0] >g[1] g[0]=1 !g[0] !g[1]", "g:F[FXSS]", "FAILED ERR_TASK_EXECUTE"},
	{"fail_fast withdraws what is not claimed", "g items=3 ff", ">g[0] ~g[1] g[0]=1 !g[0]", "g:F[FXS]", "FAILED ERR_TASK_EXECUTE"},
	{"fail_fast with min_success waits until it is missed", "g items=4 max=1 ff min=3", "g[0]=1", "g:C[FCCC]", "COMPLETED"},
	{"fail_fast when min_success is missed", "g items=4 max=1 ff min=3", "g[0]=1 g[1]=1", "g:F[FFSS]", "FAILED ERR_TASK_EXECUTE"},
	{"a stopped item is not tried again", "g items=2 ff retry=3", ">g[0] >g[1] g[0]=1 g[1]=1 !g[0] !g[0] !g[0] !g[0] !g[1]", "g:F[FF]", "FAILED ERR_TASK_EXECUTE"},
	{"a stopped item that ends well", "g items=2 ff min=1", "g[0]=1 g[1]=0", "g:C[FC]", "COMPLETED"},
	{"fail_fast of one group spares others", "g items=2 ff f=x; h items=2; x", "g[0]=1 !g[0] >h[0] stop", "g:F[FS] h:W[RR] x:R", "EXECUTING"},
	{"an item polls", "g items=2 x:202=EXECUTING", "g[1]=202,0", "g:C[CC]", "COMPLETED"},
	{"an item's code counts as success", "g items=2 x:4=COMPLETED", "g[1]=4", "g:C[CC]", "COMPLETED"},
	{"an item is fatal", "job retry=5; g items=3 max=1 x:9=FATAL", "g[0]=9", "g:F[FSS]", "FAILED ERR_FATAL"},
	{"a group is fatal", "g items=3 f=FATAL", "g[0]=1", "g:F[FCC]", "FAILED ERR_FATAL"},
	{"a group that is forgiven", "g items=3 f=COMPLETED c=b; b", "g[0]=1", "g:C[FCC] b:C", "COMPLETED"},
	{"a group restarts its items", "g items=2 f=RESTART_TASK", "g[0]=1,1,0", "g:C[CC]", "COMPLETED"},
	{"a group waits for approval", "g items=2 c=WAIT_FOR_APPROVAL", "g=yes", "g:C[CC]", "COMPLETED"},
	{"an item waits for approval", "g items=2 x:3=WAIT_FOR_APPROVAL", "g[0]=3,yes", "g:C[CC]", "COMPLETED"},
	{"an item is not approved", "g items=2 x:3=WAIT_FOR_APPROVAL", "g[0]=3,no", "g:F[FC]", "FAILED ERR_MANUAL_REJECTION"},
	{"cancel stops items", "g items=4 max=2; k always", ">g[0] cancel !g[0]", "g:X[XXXX] k:C", "CANCELLED"},
	{"cancel after an item has failed", "g items=3 max=1", "g[0]=1 !g[0] cancel", "g:X[FXX]", "CANCELLED"},
	{"the timeout of the job stops items", "g items=3 max=1", ">g[0] deadline !g[0]", "g:X[XSS]", "FAILED ERR_JOB_TIMEOUT"},
	{"a failing job starts no further items", "g items=3 max=1; a", ">g[0] >a a=1 !a", "g:X[CSS] a:F", "FAILED ERR_TASK_EXECUTE"},
	{"fail_fast of the job stops items", "job ff; g items=3 max=2; a", ">g[0] >a a=1 !a !g[0]", "g:X[XSS] a:F", "FAILED ERR_TASK_EXECUTE"},
	{"a group too late", "g items=3 max=1 t=h; h", ">g[0] #g !g[0]", "g:F[XSS] h:C", "COMPLETED"},
	{"an item too late", "g items=2", "#g[0]", "g:F[FC]", "FAILED ERR_TASK_TIMED_OUT"},
	{"pause holds items", "g items=3 max=1", ">g[0] pause !g[0]", "g:W[CWB]", "PAUSED"},
	{"resume goes on with items", "g items=3 max=1", ">g[0] pause !g[0] . resume", "g:C[CCC]", "COMPLETED"},
	{"an item is counted after the pause", "g items=1", ">g[0] pause", "g:C[C]", "COMPLETED"},
	{"when of a fan-out", "g items=3 off c=b; b", "", "g:S b:S", "COMPLETED"},
	{"a fan-out that cannot be decided", "g items=3 fault f=h; h", "", "g:F h:C", "COMPLETED"},
	{"too many items", "g items=20001", "", "g:F", "FAILED ERR_TASK_EXECUTE"},
	{"a fan-out as clean-up", "a; g items=2 always", "a=1", "a:F g:C[CC]", "FAILED ERR_TASK_EXECUTE"},
	{"a fan-out that handles", "a f=g; z; g items=3 max=1", ">z a=1 z=1 !a !z", "a:F z:F g:C[CCC]", "FAILED ERR_TASK_EXECUTE"},
	{"two groups in a row", "g items=2 c=h; h items=3 max=1", "", "g:C[CC] h:C[CCC]", "COMPLETED"},
	{"a rule retries items", "job rule=3:ERR_NET:RETRY_TASK; g items=2", "g[0]=3,0", "g:C[CC]", "COMPLETED"},
	{"a rule names the group's error", "job rule=3:ERR_DISK; g items=2", "g[0]=3", "g:F[FC]", "FAILED ERR_DISK"},
	{"job mode", "g items=2 jobs c=b; b", "", "g:C[CC] b:C", "COMPLETED"},
	{"job mode with max_parallel", "g items=3 jobs max=1", "g[0]=never", "g:W[WBB]", "EXECUTING"},
	{"job mode with a failure", "g items=3 jobs max=1", "g[1]=FAILED", "g:F[CFC]", "FAILED ERR_TASK_EXECUTE"},
	{"job mode tries again", "g items=2 jobs retry=1", "g[1]=FAILED,COMPLETED", "g:C[CC]", "COMPLETED"},
	{"job mode with fail_fast cancels children", "g items=3 jobs ff", "g[0]=never g[1]=FAILED g[2]=never . ", "g:F[XFX]", "FAILED ERR_TASK_EXECUTE"},
	{"cancel of job mode", "g items=3 jobs max=2", "g[0]=never g[1]=never . cancel", "g:X[XXX]", "CANCELLED"},
}

func TestFlows(t *testing.T) {
	if len(flows) < 150 {
		t.Fatalf("%d cases", len(flows))
	}
	seen := map[string]bool{}
	for _, tt := range flows {
		if seen[tt.name] {
			t.Errorf("two cases are named %q", tt.name)
		}
		seen[tt.name] = true
		for _, whole := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				lines := strings.Split(tt.plan, ";")
				a := play(t, draw(lines...), tt.script, whole)
				if got := a.states(); got != tt.tasks {
					t.Errorf("tasks\n got %s\nwant %s", got, tt.tasks)
				}
				if got := a.outcome(); got != tt.job {
					t.Errorf("job\n got %s (%s)\nwant %s", got, a.job.ErrorMessage, tt.job)
				}
				if want, ok := a.ends["ran"]; ok && strings.Join(a.ran, ",") != strings.Join(want, ",") {
					t.Errorf("ran %v, want %v", a.ran, want)
				}
				a.audit()
			})
		}
	}
}

// outcome shows the job: its state, error code, and whether it is tried again or resumed at once.
func (a *actor) outcome() string {
	words := []string{string(a.job.State)}
	if a.job.ErrorCode != "" && a.job.State != "CANCELLED" {
		words = append(words, a.job.ErrorCode)
	}
	if a.job.RestartAt != nil {
		words = append(words, "restart")
		if !a.job.RestartSoft {
			words = append(words, "hard")
		}
	}
	if at := a.job.ResumeAt; at != nil && !at.After(a.now) {
		words = append(words, "now")
	}
	return strings.Join(words, " ")
}
