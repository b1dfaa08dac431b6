RELEASE = "v3-broken"
