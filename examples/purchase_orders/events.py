"""The 42 activities of the log as typed events: one class a fact, a field where a fact comes in kinds.

The log gives its events no attributes beyond activity and time, so the value of an event is known from its activity.
"""

from enum import Enum

from foldlog import event


class Step(Enum):
    """What happens to a requisition, and to its document in the supplier relationship system (SRM)."""

    REQUISITION_CREATED = "requisition created"
    REQUISITION_RELEASED = "requisition released"
    CREATED = "created"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    HELD = "held"
    AWAITING_APPROVAL = "awaiting approval"
    COMPLETED = "document completed"
    ORDERED = "ordered"
    TRANSFERRING = "in transfer"
    TRANSFER_FAILED = "transfer failed"
    CHANGE_SENT = "change transmitted"
    TRANSACTION_COMPLETED = "transaction completed"


class Change(Enum):
    QUANTITY = "quantity"
    APPROVAL = "approval"
    DELIVERY = "delivery indicator"
    STORAGE = "storage location"
    CURRENCY = "currency"
    FINAL_INVOICE = "final invoice indicator"
    PAYMENT_TERM = "payment term"
    REJECTION = "rejection indicator"


@event("requisition.stepped")
class RequisitionStepped:
    step: Step


@event("order.created")
class OrderCreated:
    pass


@event("order.released")
class OrderReleased:
    pass


@event("order.changed")
class OrderChanged:
    what: Change


@event("order.price-changed")
class PriceChanged:
    pass


@event("order.confirmed")
class OrderConfirmed:
    update: bool = False


@event("order.deleted")
class OrderDeleted:
    in_srm: bool = False


@event("order.reactivated")
class OrderReactivated:
    pass


@event("order.blocked")
class OrderBlocked:
    pass


@event("goods.received")
class GoodsReceived:
    pass


@event("goods.receipt-cancelled")
class GoodsReceiptCancelled:
    pass


@event("service.recorded")
class ServiceRecorded:
    pass


@event("invoice.issued")
class InvoiceIssued:
    debit_memo: bool = False


@event("invoice.received")
class InvoiceReceived:
    subsequent: bool = False


@event("invoice.cancelled")
class InvoiceCancelled:
    subsequent: bool = False


@event("invoice.cleared")
class InvoiceCleared:
    pass


@event("payment.blocked")
class PaymentBlocked:
    pass


@event("payment.unblocked")
class PaymentUnblocked:
    pass


Event = (
    RequisitionStepped
    | OrderCreated
    | OrderReleased
    | OrderChanged
    | PriceChanged
    | OrderConfirmed
    | OrderDeleted
    | OrderReactivated
    | OrderBlocked
    | GoodsReceived
    | GoodsReceiptCancelled
    | ServiceRecorded
    | InvoiceIssued
    | InvoiceReceived
    | InvoiceCancelled
    | InvoiceCleared
    | PaymentBlocked
    | PaymentUnblocked
)

ACTIVITIES: dict[str, Event] = {
    "Create Purchase Requisition Item": RequisitionStepped(Step.REQUISITION_CREATED),
    "Release Purchase Requisition": RequisitionStepped(Step.REQUISITION_RELEASED),
    "SRM: Created": RequisitionStepped(Step.CREATED),
    "SRM: Complete": RequisitionStepped(Step.COMPLETE),
    "SRM: Incomplete": RequisitionStepped(Step.INCOMPLETE),
    "SRM: Held": RequisitionStepped(Step.HELD),
    "SRM: Awaiting Approval": RequisitionStepped(Step.AWAITING_APPROVAL),
    "SRM: Document Completed": RequisitionStepped(Step.COMPLETED),
    "SRM: Ordered": RequisitionStepped(Step.ORDERED),
    "SRM: In Transfer to Execution Syst.": RequisitionStepped(Step.TRANSFERRING),
    "SRM: Transfer Failed (E.Sys.)": RequisitionStepped(Step.TRANSFER_FAILED),
    "SRM: Change was Transmitted": RequisitionStepped(Step.CHANGE_SENT),
    "SRM: Transaction Completed": RequisitionStepped(Step.TRANSACTION_COMPLETED),
    "SRM: Deleted": OrderDeleted(in_srm=True),
    "Create Purchase Order Item": OrderCreated(),
    "Release Purchase Order": OrderReleased(),
    "Change Quantity": OrderChanged(Change.QUANTITY),
    "Change Approval for Purchase Order": OrderChanged(Change.APPROVAL),
    "Change Delivery Indicator": OrderChanged(Change.DELIVERY),
    "Change Storage Location": OrderChanged(Change.STORAGE),
    "Change Currency": OrderChanged(Change.CURRENCY),
    "Change Final Invoice Indicator": OrderChanged(Change.FINAL_INVOICE),
    "Change payment term": OrderChanged(Change.PAYMENT_TERM),
    "Change Rejection Indicator": OrderChanged(Change.REJECTION),
    "Change Price": PriceChanged(),
    "Receive Order Confirmation": OrderConfirmed(),
    "Update Order Confirmation": OrderConfirmed(update=True),
    "Delete Purchase Order Item": OrderDeleted(),
    "Reactivate Purchase Order Item": OrderReactivated(),
    "Block Purchase Order Item": OrderBlocked(),
    "Record Goods Receipt": GoodsReceived(),
    "Cancel Goods Receipt": GoodsReceiptCancelled(),
    "Record Service Entry Sheet": ServiceRecorded(),
    "Vendor creates invoice": InvoiceIssued(),
    "Vendor creates debit memo": InvoiceIssued(debit_memo=True),
    "Record Invoice Receipt": InvoiceReceived(),
    "Record Subsequent Invoice": InvoiceReceived(subsequent=True),
    "Cancel Invoice Receipt": InvoiceCancelled(),
    "Cancel Subsequent Invoice": InvoiceCancelled(subsequent=True),
    "Clear Invoice": InvoiceCleared(),
    "Set Payment Block": PaymentBlocked(),
    "Remove Payment Block": PaymentUnblocked(),
}
_NAMES = {typed: activity for activity, typed in ACTIVITIES.items()}


def activity_of(typed: Event) -> str:
    """The log's own name of what happened."""
    return _NAMES[typed]
