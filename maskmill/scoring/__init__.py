"""How good a job's masks are: against the truth, or against those of another job."""
