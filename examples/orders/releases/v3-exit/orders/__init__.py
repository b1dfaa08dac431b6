RELEASE = "v3-exit"
