"""The verb `resume`: a suspended run's pods start again, or it waits in its queue again."""

from fino1.k8s.verbs.suspend import main as main
