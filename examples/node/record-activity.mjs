import { DynamoDBClient, UpdateItemCommand } from "@aws-sdk/client-dynamodb";

const dynamodb = new DynamoDBClient({});
const refusal = "ConditionalCheckFailedException";

/** Record that the client behind this event is there. Never creates a record, never moves time backwards. */
export const recordActivity = (event, nowMs = Date.now()) =>
  dynamodb.send(new UpdateItemCommand({
    TableName: process.env.CONNECTIONS_TABLE,
    Key: { connectionId: { S: event.requestContext.connectionId } },
    UpdateExpression: "SET lastActivityTime = :now REMOVE handovers",
    ConditionExpression: "attribute_exists(connectionId) AND NOT lastActivityTime >= :now",
    ExpressionAttributeValues: { ":now": { N: `${nowMs}` } },
  })).catch((error) => error.name === refusal || console.error("activity not recorded", error));
