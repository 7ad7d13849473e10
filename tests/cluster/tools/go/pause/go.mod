module fino1.invalid/cluster/pause

go 1.22
