"""The registry of message types that the generated stubs share."""

import betterproto2

default_message_pool = betterproto2.MessagePool()
