"""Docker's plugins, spoken to: `places` finds them, `exchange` carries a question, `secret_provider` asks for secrets.

Source: the plugin protocol of Docker Engine (docs: "Docker Plugin API"), legacy plugins; nothing here starts plugins.
"""
