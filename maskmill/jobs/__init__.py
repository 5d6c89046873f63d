"""The life of a job: submitted, entered in the ledger, decided shard by shard, closed; cancelled, retried, resumed."""
