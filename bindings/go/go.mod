// The project has no public home yet, so this path is a placeholder: README.md says how a program uses it.
module hither.example/hither

go 1.19
