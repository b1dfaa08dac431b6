RELEASE = "v3-commit"
