"""The same queue workload on Strataflow and on other task queues for Postgres, in one run, one after the other."""
