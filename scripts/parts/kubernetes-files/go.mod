module akprox.invalid/parts/kubernetes-files

go 1.26.0
