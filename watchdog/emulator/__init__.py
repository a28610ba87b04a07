"""Cloud Run, Cloud Monitoring, Slack, PagerDuty and a mailbox on loopback, with a workload whose faults are scripted.

Everything speaks the real protocols, so that the watchdog under test is the one that runs in production. Nothing of the
watchdog is imported here: a mistake of ours can't hide behind the same mistake in its judge.
"""
