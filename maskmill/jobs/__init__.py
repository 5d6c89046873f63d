"""The life of a job: submitted, admitted to the queue, decided shard by shard, closed; cancelled, retried, resumed."""
